// A board's top as it is placed, on its pins, beside the flash of cocotbext-qspi, of which all pins are pulled up. Bytes of a file
// go over the serial line to the board, and what it answers goes to another. ECP5 says which board. Pads are as in the vendors'
// libraries of primitives, without delays.
`timescale 1ns / 1ps
module board_pins;
  parameter DIVISOR = 12;  // clocks a bit
  parameter BYTES = 1;  // to be sent
  reg clk = 0, rx = 1;
  wire clk_pin, rx_pin, tx;
  assign clk_pin = clk;
  assign rx_pin = rx;
  wire cs_n, busy, failed;
  tri1 [3:0] dq;
`ifdef ECP5
  wire sck = board.clock.USRMCLKI;
  bitting_board board (.clk25_0__io(clk_pin), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx), .uart_0__rts__io(1'b1), .uart_0__dtr__io(1'b1),
`else
  wire sck;
  bitting_board board (.clk12_0__io(clk_pin), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx), .program_flash_0__clk__io(sck),
`endif
      .led_0__io(busy), .led_1__io(failed), .program_flash_0__cs__io(cs_n), .program_flash_0__dq__io(dq));
  qspi_flash #(.MEM_DEPTH(1 << 23), .DUMMY(4)) flash (.clk(sck), .csb(cs_n), .io(dq));

  always #20 clk = ~clk;
  reg [7:0] sent[0:BYTES-1];
  reg [7:0] came;
  integer at, bits, file;
  initial begin
    $readmemh("sent.hex", sent);
    repeat (4000) @(negedge clk);  // an iCE40 waits after configuration
    for (at = 0; at < BYTES; at = at + 1) begin
      rx = 0;
      repeat (DIVISOR) @(negedge clk);
      for (bits = 0; bits < 8; bits = bits + 1) begin
        rx = sent[at][bits];
        repeat (DIVISOR) @(negedge clk);
      end
      rx = 1;
      repeat (DIVISOR) @(negedge clk);
    end
    repeat (400000) @(negedge clk);
    $finish;
  end
  integer bit_at;
  initial begin
    file = $fopen("came.hex", "w");
    @(negedge clk);  // the flash's own beginning is over
    $readmemh("image.hex", flash.memory, 1 << 22, (1 << 22) + `IMAGE_BYTES - 1);
    flash.powered_up = 0;
    forever begin
      @(negedge tx);
      repeat (DIVISOR / 2) @(posedge clk);
      for (bit_at = 0; bit_at < 8; bit_at = bit_at + 1) begin
        repeat (DIVISOR) @(posedge clk);
        came[bit_at] = tx;
      end
      repeat (DIVISOR) @(posedge clk);
      $fdisplay(file, "%h", came);
    end
  end
endmodule

module SB_IO (inout PACKAGE_PIN, input D_OUT_0, OUTPUT_ENABLE, output D_IN_0);
  parameter [5:0] PIN_TYPE = 0; parameter PULLUP = 0, IO_STANDARD = "";  // outputs are D_OUT_0, always or with OUTPUT_ENABLE; inputs are not registered
  generate
    if (PIN_TYPE >> 4 == 1) assign PACKAGE_PIN = D_OUT_0;
    if (PIN_TYPE >> 4 == 2) assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
  endgenerate
  assign D_IN_0 = PACKAGE_PIN;
endmodule
module SB_GB_IO (inout PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT);
  parameter [5:0] PIN_TYPE = 0; parameter PULLUP = 0, IO_STANDARD = "";
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
endmodule
module IB (input I, output O);
  assign O = I;
endmodule
module OBZ (input I, T, output O);
  assign O = T ? 1'bz : I;
endmodule
module BB (input I, T, output O, inout B);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule
module FD1S3AX (input CK, D, output reg Q = 0);
  parameter GSR = "ENABLED";
  always @(posedge CK) Q <= D;
endmodule
module SGSR (input CLK, GSR);
endmodule
module USRMCLK (input USRMCLKI, USRMCLKTS);
endmodule
