// A program in C, built for WASI preview 1 by any C compiler that has it: prints its arguments.
#include <stdio.h>

int main(int count, char **arguments) {
    for (int at = 1; at < count; at++) printf("%s\n", arguments[at]);
    return count > 1 ? 0 : 3;
}
