// Smoke test of the exported engine under a second simulator: words from a file in, words to a file out, with stalls.
`timescale 1ns / 1ps
module icarus;
  parameter COMMANDS = 1;
  parameter EXPECTED = 1;
  reg clk = 0;
  reg rst = 1;
  reg [31:0] commands[0:COMMANDS-1];
  reg [31:0] fuses[0:4];
  reg [31:0] fuse_data;
  wire [2:0] fuse_address;
  reg [31:0] cmd_data = 0;
  reg cmd_valid = 0;
  reg result_ready = 0;
  wire cmd_ready, result_valid, result_last, busy;
  wire [31:0] result_data;
  wire [3:0] error;
  integer sent = 0, received = 0, quiet = 0, lasts = 0, file;

  bitting_engine engine (
      .clk(clk), .rst(rst), .fuse_address(fuse_address), .fuse_data(fuse_data), .lock_now(1'b0),
      .cmd_data(cmd_data), .cmd_valid(cmd_valid), .cmd_ready(cmd_ready),
      .result_data(result_data), .result_valid(result_valid), .result_ready(result_ready), .result_last(result_last),
      .error(error), .busy(busy)
  );

  always #5 clk = ~clk;
  always @(posedge clk) fuse_data <= fuses[fuse_address];

  initial begin
    $readmemh("commands.hex", commands);
    $readmemh("fuses.hex", fuses);
    file = $fopen("results.hex", "w");
    repeat (4) @(negedge clk);
    rst = 0;
    @(negedge clk);
    // Every decision is made at a falling edge and holds at the next rising one.
    while (received < EXPECTED && quiet < 20000) begin
      quiet = quiet + 1;
      if (!cmd_valid && sent < COMMANDS && $random % 4 != 0) begin
        cmd_valid = 1;
        cmd_data = commands[sent];
      end
      result_ready = $random % 4 != 0;
      if (result_ready && result_valid) begin
        $fdisplay(file, "%h", result_data);
        received = received + 1;
        if (result_last) lasts = lasts + 1;
        quiet = 0;
      end
      if (cmd_valid && cmd_ready) begin
        sent = sent + 1;
        quiet = 0;
        @(negedge clk);
        cmd_valid = 0;
      end else begin
        @(negedge clk);
      end
    end
    $fclose(file);
    $display("received %0d lasts %0d error %0d", received, lasts, error);
    $finish;
  end
endmodule
