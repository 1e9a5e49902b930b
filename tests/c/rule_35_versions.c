/* Rule 35: the library says which it is, in agreement with its header. */
#include "check.h"

int main(void)
{
    unsigned major = 0, minor = 0, patch = 0;
    CHECK(strcmp(redmux_version_string(), REDMUX_VERSION) == 0, "header and library are of one version");
    CHECK_EQ(REDMUX_ABI_VERSION, redmux_abi_version(), "header and library have one ABI number");
    CHECK_EQ(3, sscanf(redmux_version_string(), "%u.%u.%u", &major, &minor, &patch), "major.minor.patch");
    CHECK_EQ(major << 16 | minor << 8 | patch, redmux_version_number(), "the number is 0xMMmmpp");
    CHECK(redmux_version_string() == redmux_version_string(), "the string is static");
    CHECK_EQ(0, redmux_debug_live(), "asking opens nothing");
    return 0;
}
