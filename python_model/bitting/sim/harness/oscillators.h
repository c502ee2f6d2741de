// Where oscillators would be there is a memory of increments, if there is a PUF: set its ports. False if there are none.
#include <cstdint>

namespace {

template <class Top>
auto set_load(Top& top, bool load, uint32_t address, uint32_t first, uint32_t second, int) -> decltype(top.load, bool()) {
    top.load = load;
    top.load_address = address;
    top.load_first = first;
    top.load_second = second;
    return true;
}
template <class Top>
bool set_load(Top&, bool, uint32_t, uint32_t, uint32_t, long) {
    return false;
}

}  // namespace
