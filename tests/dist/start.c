/* Exits with 0 if the library that was loaded is that of this header. */
#include <wfvae.h>

int start(void)
{
    return wfvae_api_version() == WFVAE_API_VERSION ? 0 : 1;
}
