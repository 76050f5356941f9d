// A file's bytes in the program, by .incbin, which takes no time to compile.
#pragma once

// In the global namespace of one source: `name`_begin up to `name`_end, and a zero after them. `file` is a string
// literal.
#define INGOT_EMBED_FILE(name, file)                                                                            \
  __asm__(".section .rodata\n.global " #name "_begin\n.global " #name "_end\n" #name "_begin:\n.incbin \"" file \
          "\"\n" #name "_end:\n.byte 0\n.previous\n");                                                          \
  extern "C" const char name##_begin[], name##_end[];
