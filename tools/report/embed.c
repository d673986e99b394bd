/* embed.c - run by the build: the page's parts as arrays in a C header.
 * usage: embed PAGE STYLE SCRIPT... >report_parts.h
 * Scripts are joined in order; a content security policy names script and style by their SHA-256,
 * in base64.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct part {
    unsigned char *data; /* data[n], with room for a hash's padding */
    size_t n;
} part;

/* Append a file; false when it cannot be read. */
static int add_file(part *p, const char *path)
{
    FILE *file = fopen(path, "rb");
    int ok = file != NULL;
    while (ok) {
        unsigned char *grown = realloc(p->data, p->n + 4096 + 128);
        if (!grown) {
            ok = 0;
            break;
        }
        p->data = grown;
        size_t n = fread(p->data + p->n, 1, 4096, file);
        p->n += n;
        if (n == 0) {
            ok = !ferror(file);
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return ok;
}

static uint32_t turn(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* of the first 64 primes the cube roots, of the first 8 the square roots: 32 bits behind the point
 */
static const uint32_t cube_roots[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t square_roots[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* FIPS 180-4 */
static void sha256(part *p, unsigned char digest[32])
{
    uint32_t h[8];
    memcpy(h, square_roots, sizeof h);
    size_t padded = (p->n + 8) / 64 * 64 + 64;
    memset(p->data + p->n, 0, padded - p->n);
    p->data[p->n] = 0x80;
    for (size_t i = 0; i < 8; i++) {
        p->data[padded - 1 - i] = (unsigned char)((uint64_t)p->n * 8 >> (8 * i));
    }
    for (size_t at = 0; at < padded; at += 64) {
        uint32_t w[64], s[8];
        for (size_t i = 0; i < 16; i++) {
            const unsigned char *b = p->data + at + 4 * i;
            w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        }
        for (size_t i = 16; i < 64; i++) {
            uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
                   (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
        }
        memcpy(s, h, sizeof s);
        for (size_t i = 0; i < 64; i++) {
            uint32_t t1 = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
                          ((s[4] & s[5]) ^ (~s[4] & s[6])) + cube_roots[i] + w[i];
            uint32_t t2 = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) +
                          ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += t1;
            s[0] = t1 + t2;
        }
        for (size_t i = 0; i < 8; i++) {
            h[i] += s[i];
        }
    }
    for (size_t i = 0; i < 32; i++) {
        digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static void print_array(const char *name, const part *p)
{
    (void)printf("static const unsigned char %s[] = {", name);
    for (size_t i = 0; i < p->n; i++) {
        (void)printf("%s%d,", i % 24 == 0 ? "\n" : "", p->data[i]);
    }
    (void)printf("\n};\n");
}

static void print_hash(const char *name, part *p)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char digest[33] = {0};
    sha256(p, digest);
    (void)printf("static const char %s[] = \"", name);
    for (size_t i = 0; i < 33; i += 3) {
        unsigned word = (unsigned)digest[i] << 16 | (unsigned)digest[i + 1] << 8;
        word |= i + 2 < 32 ? digest[i + 2] : 0;
        (void)printf("%c%c%c%c", digits[word >> 18], digits[word >> 12 & 63],
                     digits[word >> 6 & 63], i + 2 < 32 ? digits[word & 63] : '=');
    }
    (void)printf("\";\n");
}

int main(int argc, char **argv)
{
    part page = {0}, style = {0}, script = {0};
    int ok = argc > 3 && add_file(&page, argv[1]) && add_file(&style, argv[2]);
    for (int i = 3; i < argc && ok; i++) {
        ok = add_file(&script, argv[i]);
    }
    if (ok) {
        (void)printf("/* Made by the build out of tools/report/. */\n");
        print_array("report_page", &page);
        print_array("report_style", &style);
        print_array("report_script", &script);
        print_hash("report_style_hash", &style);
        print_hash("report_script_hash", &script);
    } else {
        (void)fprintf(stderr, "embed: cannot read the page's parts\n");
    }
    free(page.data);
    free(style.data);
    free(script.data);
    return ok ? 0 : 1;
}
