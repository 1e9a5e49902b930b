/* Rules 1 and 2: one prefix, and types that are as wide everywhere. */
#include "check.h"

int main(void)
{
    CHECK_EQ(8, sizeof(redmux_client), "a handle is one 64-bit number");
    CHECK_EQ(8, sizeof(redmux_inbox), "a handle is one 64-bit number");
    CHECK_EQ(8, sizeof(redmux_options), "a handle is one 64-bit number");
    CHECK_EQ(8, sizeof(redmux_promises), "a handle is one 64-bit number");
    CHECK_EQ(8, sizeof(redmux_subscription), "a handle is one 64-bit number");
    CHECK_EQ(sizeof(void *) + sizeof(size_t), sizeof(redmux_bytes), "bytes are a pointer and a length");
    return 0;
}
