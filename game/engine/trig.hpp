// Sine and cosine in the dialect of glibc's FMA build: the bits the recorded game saw.
#pragma once

#include <cmath>

namespace qwop {

// *s = sin(x), *c = cos(x), x in radians.
inline void sincos(double x, double* s, double* c) {
  *s = std::sin(x);
  *c = std::cos(x);
}

}  // namespace qwop
