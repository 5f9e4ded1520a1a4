/* Verifies certificates with mbedTLS: mbedtls_verify ROOT.pem ISSUING.pem DEVICE.pem...
 * The issuing CA comes as an untrusted intermediate, as a device would send it. */

#include <mbedtls/x509_crt.h>
#include <stdio.h>

static int verify(const char *root_path, const char *issuing_path, const char *device_path)
{
    mbedtls_x509_crt root, chain;
    uint32_t flags = 0;
    int result;

    mbedtls_x509_crt_init(&root);
    mbedtls_x509_crt_init(&chain);
    result = mbedtls_x509_crt_parse_file(&root, root_path);
    if (result == 0)
        result = mbedtls_x509_crt_parse_file(&chain, device_path);
    if (result == 0)
        result = mbedtls_x509_crt_parse_file(&chain, issuing_path);
    if (result == 0)
        result = mbedtls_x509_crt_verify(&chain, &root, NULL, NULL, &flags, NULL, NULL);
    printf("%s: %s (%d, flags 0x%lx)\n", device_path, result == 0 ? "OK" : "REFUSED", result,
           (unsigned long)flags);
    mbedtls_x509_crt_free(&chain);
    mbedtls_x509_crt_free(&root);
    return result;
}

int main(int count, char **arguments)
{
    int refused = 0;

    if (count < 4) {
        fprintf(stderr, "usage: mbedtls_verify ROOT ISSUING DEVICE...\n");
        return 64;
    }
    for (int at = 3; at < count; at++)
        refused |= verify(arguments[1], arguments[2], arguments[at]) != 0;
    return refused;
}
