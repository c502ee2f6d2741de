// A board's top as it is placed, on its pins, beside the flash of cocotbext-qspi, of which all pins are pulled up. ECP5 says
// which board; IMAGE is a file. Pads are as in the vendors' libraries of primitives, without delays.
module board_pins (input clk, rst, rx, output tx);
  wire cs_n, busy, failed;
  wire clk_pin, rx_pin, tx_pin;  // a pad could drive them
  assign clk_pin = clk;
  assign rx_pin = rx;
  assign tx = tx_pin;
  tri1 [3:0] dq;
`ifdef ECP5
  wire sck = board.clock.USRMCLKI;
  bitting_board board (.clk25_0__io(clk_pin), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx_pin), .uart_0__rts__io(1'b1), .uart_0__dtr__io(1'b1),
`else
  wire sck;
  bitting_board board (.clk12_0__io(clk_pin), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx_pin), .program_flash_0__clk__io(sck),
`endif
      .led_0__io(busy), .led_1__io(failed), .program_flash_0__cs__io(cs_n), .program_flash_0__dq__io(dq));
  qspi_flash #(.MEM_DEPTH(1 << 23), .DUMMY(4)) flash (.clk(sck), .csb(cs_n), .io(dq));
  // Not in an `initial`, of which the flash has one too: it would be chance which comes first.
  reg loaded = 0;
  always @(posedge clk) begin
    if (!loaded) begin
      $readmemh(`IMAGE, flash.memory, 1 << 22);
      flash.powered_up = 0;
    end
    loaded <= 1;
  end
endmodule

module SB_IO (inout PACKAGE_PIN, input D_OUT_0, OUTPUT_ENABLE, output D_IN_0);
  parameter PIN_TYPE = 0, PULLUP = 0, IO_STANDARD = "";  // outputs are D_OUT_0, always or with OUTPUT_ENABLE; inputs are not registered
  generate
    if (PIN_TYPE >> 4 == 1) assign PACKAGE_PIN = D_OUT_0;
    if (PIN_TYPE >> 4 == 2) assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
  endgenerate
  assign D_IN_0 = PACKAGE_PIN;
endmodule
module SB_GB_IO (inout PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT);
  parameter PIN_TYPE = 0, PULLUP = 0, IO_STANDARD = "";
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
