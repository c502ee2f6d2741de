// A QSPI flash of 128 Mbit, as far as a reader needs it, written from the data sheet of Winbond's W25Q128JV (commands 31h, 50h, 66h,
// 99h, ABh, B9h, EBh; continuous read by M5-4 = 10; burst with wrap) and, where it differs, of ISSI's IS25LP128F (quad enable
// is bit 6 of the status register that 01h writes). Times are in clocks of a board of 25 MHz.
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// How it is found after configuration.
enum FlashState : uint32_t { POWER_DOWN = 1, CONTINUOUS = 2, WRAPS = 4, ISSI = 8, ABSENT = 16, STUCK_LOW = 32 };

struct Flash {
    static constexpr uint32_t RESET_CLOCKS = 35 * 25, WAKE_CLOCKS = 3 * 25, WRAP_BYTES = 8;
    std::vector<uint8_t> memory = std::vector<uint8_t>(1u << 24, 0xFF);
    bool down = true, continuous = false, wraps = false, issi = false, absent = true, stuck_low = false, quad = false;
    bool volatile_write = false, reset_enabled = false;
    bool sck = false, selected = false, driving = false;
    uint32_t busy = 0, count = 0, received = 0, address = 0, mode = 0, nibble = 0;
    uint64_t fights = 0;  // clocks in which both drive

    void set(const uint8_t* bytes, uint64_t length, uint64_t offset, uint32_t state) {
        std::memset(memory.data(), 0xFF, memory.size());
        for (uint64_t at = 0; at < length && offset + at < memory.size(); ++at) memory[offset + at] = bytes[at];
        down = state & POWER_DOWN, continuous = state & CONTINUOUS, wraps = state & WRAPS, issi = state & ISSI;
        absent = state & ABSENT, stuck_low = state & STUCK_LOW, quad = continuous;
        volatile_write = reset_enabled = false;
        busy = count = 0;
    }

    // Another clock, with what the board drives now; gives the levels of the four pins.
    uint32_t clock(bool new_sck, bool cs_n, uint32_t out, bool driven) {
        if (busy) --busy;
        if (cs_n && selected) deselected();
        if (!cs_n && !selected) count = received = address = mode = 0;
        selected = !cs_n;
        if (selected && new_sck && !sck) rising(driven ? out : 0xF);
        if (selected && !new_sck && sck) falling();
        driving = driving && selected;
        sck = new_sck;
        fights += driving && driven;
        if (stuck_low) return 0;
        if (driven && !driving) return out;
        return driving && !absent ? nibble : 0xF;
    }

   private:
    uint32_t received_command = 0;
    bool in_continuous_read = false;

    void rising(uint32_t pins) {
        if (count == 0) in_continuous_read = continuous;
        const uint32_t at = in_continuous_read ? count : count - 8;
        if (!in_continuous_read && count < 16) {
            received = (received << 1 | (pins & 1)) & 0xFFFF;
            if (count == 7) received_command = received & 0xFF;
        }
        if (in_continuous_read || reads_quad()) {
            if (at < 6) address = address << 4 | pins;
            else if (at < 8) mode = mode << 4 | pins;
            if (at == 7) continuous = (mode >> 4 & 3) == 2;
        }
        ++count;
    }

    bool reads_quad() const { return count >= 8 && received_command == 0xEB && quad && !down && !busy; }

    void falling() {
        const uint32_t done = in_continuous_read ? count : count - 8;
        driving = (in_continuous_read || reads_quad()) && done >= 12 && done < 0x80000000u;
        if (!driving) return;
        const uint8_t byte = memory[address & 0xFFFFFF];
        nibble = done % 2 == 0 ? byte >> 4 : byte & 0xF;
        if (done % 2) address = wraps ? (address & ~(WRAP_BYTES - 1)) | ((address + 1) & (WRAP_BYTES - 1)) : address + 1;
    }

    void deselected() {
        const bool enabled = reset_enabled, may_write = volatile_write;
        if (in_continuous_read || busy) {
            in_continuous_read = false;
            return;
        }
        reset_enabled = false;
        if (down) {
            if (count == 8 && received_command == 0xAB) down = false, busy = WAKE_CLOCKS;
            return;
        }
        if (count == 8) {
            volatile_write = received_command == 0x50;
            reset_enabled = received_command == 0x66;
            if (received_command == 0xB9) down = true;
            if (received_command == 0x99 && enabled) quad = wraps = continuous = false, busy = RESET_CLOCKS;
        } else if (count == 16 && may_write) {
            volatile_write = false;
            if (received_command == 0x31 && !issi) quad = received >> 1 & 1;
            if (received_command == 0x01 && issi) quad = received >> 6 & 1;
        }
    }
};

// Another clock of the flash of a board that has one.
template <class Top>
auto clock_flash(Top& top, Flash& flash, int) -> decltype(top.flash_sck, void()) {
    top.flash_i = flash.clock(top.flash_sck, top.flash_cs_n, top.flash_o, top.flash_oe);
}
template <class Top>
void clock_flash(Top&, Flash&, long) {}

}  // namespace
