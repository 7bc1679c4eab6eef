// SPDX-License-Identifier: MIT OR Apache-2.0
// Runs the tests of wfvae.hpp:
//
//     test_cxx GOLDEN_MODELS TEMPORARY_FOLDER [views | streams | threads]
#include "check.hpp"

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    test::golden = argv[1];
    test::folder = argv[2];
    const std::string only = argc > 3 ? argv[3] : "";
    if (only.empty() || only == "views")
        test::views();
    if (only.empty() || only == "streams")
        test::streams();
    if (only.empty() || only == "threads")
        test::threads();
    std::printf("%d passed, %d failed\n", test::passed, test::failed);
    return test::failed != 0;
}
