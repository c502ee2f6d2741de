// Self-checking testbench of bitting_axi: every register through AXI4-Lite, then sessions of golden words through
// AXI4-Stream with random pauses. It prints PASS, or what is wrong where, and FAIL. Runs under Icarus Verilog and under Verilator (see Makefile).
// Run it in the folder of the package: it reads test/*.hex.
module bitting_test;
  `include "golden.vh"

  // Clocks in which nothing moves, after which nothing more is waited for.
  localparam PATIENCE = 100000;
  // Clocks after the last answer in which no other may come.
  localparam SILENCE = 200;

  reg aclk = 0;
  reg aresetn = 0;
  always #5 aclk = ~aclk;

  // The fuses: a memory that gives its word a clock late. The root secret in it is public, for this testbench only.
  reg [31:0] fuses [0:7];
  reg [31:0] fuse_data = 0;
  wire [2:0] fuse_address;
  always @(posedge aclk) fuse_data <= fuses[fuse_address];

  reg [31:0] s_axis_tdata = 0;
  reg s_axis_tvalid = 0;
  wire s_axis_tready;
  wire [31:0] m_axis_tdata;
  wire m_axis_tvalid, m_axis_tlast;
  reg m_axis_tready = 0;
  reg [5:0] awaddr = 0, araddr = 0;
  reg [31:0] wdata = 0;
  reg awvalid = 0, wvalid = 0, bready = 0, arvalid = 0, rready = 0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;

  bitting_axi device (
    .aclk(aclk), .aresetn(aresetn), .lock_now(1'b0), .fuse_address(fuse_address), .fuse_data(fuse_data),
    .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
    .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(m_axis_tready), .m_axis_tlast(m_axis_tlast),
    .s_axil_awaddr(awaddr), .s_axil_awprot(3'b000), .s_axil_awvalid(awvalid), .s_axil_awready(awready),
    .s_axil_wdata(wdata), .s_axil_wstrb(4'b1111), .s_axil_wvalid(wvalid), .s_axil_wready(wready),
    .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(bready),
    .s_axil_araddr(araddr), .s_axil_arprot(3'b000), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
    .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid), .s_axil_rready(rready)
  );

  // Golden words. Of an answer bit 32 is TLAST. A session is a row of numbers, in the order of `run_session`.
  reg [31:0] commands [0:COMMANDS-1];
  reg [32:0] answers [0:ANSWERS-1];
  reg [31:0] sessions [0:ROW*SESSIONS-1];

  task fail;
    begin
      $display("FAIL");
      $finish;
      forever @(posedge aclk);  // nothing is printed after the first FAIL
    end
  endtask

  // ---- AXI4-Lite: requests change at the falling edge, and what the device says is looked at just before the rising one.

  reg [31:0] found;
  reg [1:0] response;

  task read_register(input [5:0] address);
    begin
      @(negedge aclk) araddr = address; arvalid = 1; rready = 1;
      @(posedge aclk);
      while (!arready) @(posedge aclk);
      @(negedge aclk) arvalid = 0;
      @(posedge aclk);
      while (!rvalid) @(posedge aclk);
      found = rdata;
      response = rresp;
      @(negedge aclk) rready = 0;
    end
  endtask

  task write_register(input [5:0] address, input [31:0] data);
    begin
      @(negedge aclk) awaddr = address; awvalid = 1; wdata = data; wvalid = 1; bready = 1;
      @(posedge aclk);
      while (!awready) @(posedge aclk);
      @(negedge aclk) awvalid = 0; wvalid = 0;
      @(posedge aclk);
      while (!bvalid) @(posedge aclk);
      response = bresp;
      @(negedge aclk) bready = 0;
    end
  endtask

  // `mask`: bits that are looked at.
  task expect_read(input [127:0] name, input [5:0] address, input [31:0] mask, input [31:0] expected);
    begin
      read_register(address);
      if (response != 2'b00 || (found & mask) != expected) begin
        $display("register %0s reads 0x%h, response %b; expected 0x%h in the bits 0x%h, response 00", name, found, response,
                 expected, mask);
        fail;
      end
    end
  endtask

  task expect_write(input [127:0] name, input [5:0] address, input [31:0] data, input [1:0] expected);
    begin
      write_register(address, data);
      if (response != expected) begin
        $display("a write to register %0s is answered %b, expected %b", name, response, expected);
        fail;
      end
    end
  endtask

  task expect_no_register(input [5:0] address);
    begin
      read_register(address);
      if (response != 2'b10) begin
        $display("a read at 0x%h, where no register is, is answered %b, expected 10", address, response);
        fail;
      end
    end
  endtask

  // ---- The streams. While nothing runs, the counters stand at the first words of the session.

  reg running = 0;
  integer commands_from = 0, commands_to = 0, answers_from = 0, answers_to = 0;
  integer sent = 0, received = 0;   // numbers of the next command word and of the next answer word
  integer offered = 0, quiet = 0;
  integer clocks = 0, answered = 0; // since the session began, and when its last answer came
  reg wrong = 0;
  reg [31:0] noise = 32'h2545f491;  // for pauses; the same in every simulator

  always @(posedge aclk) begin
    noise <= {noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]};
    quiet <= quiet + 1;
    clocks <= running ? clocks + 1 : 0;
    if (!running) begin
      sent <= commands_from;
      received <= answers_from;
      quiet <= 0;
    end else begin
      if (s_axis_tvalid && s_axis_tready) begin
        sent <= sent + 1;
        quiet <= 0;
      end
      if (m_axis_tvalid && m_axis_tready) begin
        received <= received + 1;
        answered <= clocks;
        quiet <= 0;
        if (wrong) begin
        end else if (received >= answers_to) begin
          $display("answer word 0x%h comes after the last, of %0d", m_axis_tdata, answers_to - answers_from);
          wrong <= 1;
        end else if ({m_axis_tlast, m_axis_tdata} != answers[received]) begin
          $display("answer word %0d (test/answers.hex, line %0d) is 0x%h with TLAST %b; expected 0x%h with TLAST %b",
                   received - answers_from, received + 1, m_axis_tdata, m_axis_tlast, answers[received][31:0],
                   answers[received][32]);
          wrong <= 1;
        end
      end
    end
  end

  // A word that is offered stays until it is taken.
  always @(negedge aclk) begin
    m_axis_tready <= running && noise[1:0] != 0;
    if (!running || !s_axis_tvalid || sent != offered) begin
      s_axis_tvalid <= running && sent < commands_to && noise[3:2] != 0;
      s_axis_tdata <= commands[sent < COMMANDS ? sent : 0];
      offered <= sent;
    end
  end

  // ---- The sessions.

  integer row, word;
  reg [31:0] control, error;

  task run_session(input integer number);
    begin
      row = ROW * number;
      for (word = 0; word < 5; word = word + 1) fuses[word] = sessions[row+word];
      control = sessions[row+5];
      error = sessions[row+6];
      commands_from = sessions[row+7];
      commands_to = sessions[row+8];
      answers_from = sessions[row+9];
      answers_to = sessions[row+10];
      write_register(ADDRESS_CONTROL, CONTROL_RESET);
      found = STATUS_RESETTING;
      while ((found & STATUS_RESETTING) != 0) read_register(ADDRESS_STATUS);
      @(negedge aclk) running = 1;
      if (control != 0) write_register(ADDRESS_CONTROL, control);
      while (!wrong && quiet < PATIENCE && (sent != commands_to || received != answers_to || quiet < SILENCE)) @(negedge aclk);
      if (!wrong && (sent != commands_to || received != answers_to))
        $display("nothing moves any more after %0d of %0d command words and %0d of %0d answer words", sent - commands_from,
                 commands_to - commands_from, received - answers_from, answers_to - answers_from);
      if (wrong || sent != commands_to || received != answers_to) begin
        print_session(number);
        fail;
      end
      running = 0;
      expect_read("STATUS", ADDRESS_STATUS, STATUS_ERROR, error << STATUS_ERROR_LOW);
      expect_read("COMMANDS", ADDRESS_COMMANDS, 32'hffffffff, commands_to - commands_from);
      expect_read("RESULTS", ADDRESS_RESULTS, 32'hffffffff, answers_to - answers_from);
      print_session(number);
      $display("  %0d command words; the last of %0d answer words came %0d clocks after the reset, with pauses",
               commands_to - commands_from, answers_to - answers_from, answered);
      if (number == 0 && answered > BOOT_CLOCKS) begin
        $display("booting takes more than %0d clocks", BOOT_CLOCKS);
        fail;
      end
    end
  endtask

  integer at;
  initial begin
    $readmemh("test/commands.hex", commands);
    $readmemh("test/answers.hex", answers);
    $readmemh("test/sessions.hex", sessions);
    for (at = 0; at < 8; at = at + 1) fuses[at] = 0;
    repeat (4) @(negedge aclk);
    aresetn = 1;
    check_registers;
    $display("every register answers");
    for (at = 0; at < SESSIONS; at = at + 1) run_session(at);
    $display("PASS");
    $finish;
  end
endmodule
