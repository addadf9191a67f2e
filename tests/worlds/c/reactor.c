// A preview-1 reactor in C: no main, but functions that are called one by one, after `_initialize`.
#include <stdio.h>

static int base;

__attribute__((constructor)) static void start(void) { base = 40; }

__attribute__((export_name("answer"))) int answer(void) { return base + 2; }

__attribute__((export_name("add_up"))) int add_up(int one, int other) { return one + other; }

__attribute__((export_name("greet"))) void greet(void) {
    puts("hello from a reactor");
    fflush(stdout);
}
