// Sine and cosine of any finite double, correctly rounded, with integers only: slow, and always right.
#pragma once

namespace qwop {
namespace trig {

// x finite; 0.0 and -0.0 included.
void exact_sincos(double x, double* sine, double* cosine);

}  // namespace trig
}  // namespace qwop
