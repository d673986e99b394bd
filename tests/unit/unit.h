/* unit.h - cmocka and the headers it wants, for every file of this folder. */
#ifndef KVASS_TESTS_UNIT_H
#define KVASS_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
