/* Rule 14: the public structs are frozen as C sees them. */
#include "check.h"

#define AT(type, member, offset) CHECK_EQ(offset, offsetof(type, member), #type "." #member)

int main(void)
{
    CHECK_EQ(64, sizeof(redmux_record), "a record has 64 bytes");
    AT(redmux_record, kind, 0);
    AT(redmux_record, flags, 2);
    AT(redmux_record, status, 4);
    AT(redmux_record, source, 8);
    AT(redmux_record, token, 16);
    AT(redmux_record, number, 24);
    AT(redmux_record, aux, 32);
    AT(redmux_record, name_off, 40);
    AT(redmux_record, name_len, 44);
    AT(redmux_record, extra_off, 48);
    AT(redmux_record, extra_len, 52);
    AT(redmux_record, data_off, 56);
    AT(redmux_record, data_len, 60);
    if (sizeof(void *) == 8) {
        CHECK_EQ(56, sizeof(redmux_block), "a block has 56 bytes");
        AT(redmux_block, id, 0);
        AT(redmux_block, inbox, 8);
        AT(redmux_block, records, 16);
        AT(redmux_block, count, 24);
        AT(redmux_block, data, 32);
        AT(redmux_block, data_len, 40);
        AT(redmux_block, more, 48);
        AT(redmux_block, status, 52);
        CHECK_EQ(16, sizeof(redmux_bytes), "bytes have 16 bytes");
        AT(redmux_bytes, data, 0);
        AT(redmux_bytes, len, 8);
    }
    return 0;
}
