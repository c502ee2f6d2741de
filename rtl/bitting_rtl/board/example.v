// How to use bitting_axi in a design of your own. A processor (or the testbench of your choice) is the master of s_axil and the
// streams.
// What differs from chip to chip is the fuses alone, here a one-time-programmable memory behind otp_address and otp_data.
module bitting_example (
    input  wire        clk,
    input  wire        resetn,
    input  wire        tamper,         // wipes all keys while high; only a reset leads out
    output wire [2:0]  otp_address,    // 0 to 3: the root secret, its byte 0 lowest in word 0; 4: flags, bit 0 is `sealed`
    input  wire [31:0] otp_data,       // that word, from a clock after its address on; read again after every reset

    input  wire [31:0] command_data,   // from a DMA channel that reads `bitting lock`'s packets
    input  wire        command_valid,
    output wire        command_ready,

    output wire [31:0] answer_data,    // to a DMA channel; a packet ends with answer_last
    output wire        answer_valid,
    input  wire        answer_ready,
    output wire        answer_last,

    input  wire [5:0]  awaddr,  input  wire awvalid, output wire awready,
    input  wire [31:0] wdata,   input  wire [3:0] wstrb, input wire wvalid, output wire wready,
    output wire [1:0]  bresp,   output wire bvalid,  input  wire bready,
    input  wire [5:0]  araddr,  input  wire arvalid, output wire arready,
    output wire [31:0] rdata,   output wire [1:0] rresp, output wire rvalid, input wire rready
);
    bitting_axi npu (
        .aclk(clk), .aresetn(resetn), .lock_now(tamper),
        .fuse_address(otp_address), .fuse_data(otp_data),
        .s_axis_tdata(command_data), .s_axis_tvalid(command_valid), .s_axis_tready(command_ready),
        .m_axis_tdata(answer_data), .m_axis_tvalid(answer_valid), .m_axis_tready(answer_ready), .m_axis_tlast(answer_last),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b000), .s_axil_awvalid(awvalid), .s_axil_awready(awready),
        .s_axil_wdata(wdata), .s_axil_wstrb(wstrb), .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(bready),
        .s_axil_araddr(araddr), .s_axil_arprot(3'b000), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
        .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid), .s_axil_rready(rready)
    );
endmodule
