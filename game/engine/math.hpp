// Plane vectors and rotations in doubles. Every expression keeps the operand order of the game's own
// arithmetic: floating-point addition is not associative, and the engine is exact to the last bit.
#pragma once
#include <cmath>

#include "trig.hpp"

namespace qwop {

struct Vec2 {
    double x, y;
};

// Columns (cos, sin) and (-sin, cos).
struct Rotation {
    double cos = 1, sin = 0;

    static Rotation of(Trig trig, double angle) {
        Rotation r;
        sincos(trig, angle, &r.sin, &r.cos);
        return r;
    }
};

inline Vec2 operator+(Vec2 a, Vec2 b) { return {a.x + b.x, a.y + b.y}; }
inline Vec2 operator-(Vec2 a, Vec2 b) { return {a.x - b.x, a.y - b.y}; }
inline Vec2 operator*(double s, Vec2 a) { return {s * a.x, s * a.y}; }
inline double dot(Vec2 a, Vec2 b) { return a.x * b.x + a.y * b.y; }
inline double cross(Vec2 a, Vec2 b) { return a.x * b.y - a.y * b.x; }

inline Vec2 rotate(Rotation r, Vec2 v) { return {r.cos * v.x + -r.sin * v.y, r.sin * v.x + r.cos * v.y}; }
inline Vec2 unrotate(Rotation r, Vec2 v) { return {v.x * r.cos + v.y * r.sin, v.x * -r.sin + v.y * r.cos}; }

inline double min(double a, double b) { return a < b ? a : b; }
inline double max(double a, double b) { return a > b ? a : b; }
inline double clamp(double a, double low, double high) { return a < low ? low : a > high ? high : a; }

// The game rounds half up: JavaScript's Math.round.
inline double round_half_up(double x) {
    const double floor = std::floor(x);
    return x - floor >= 0.5 ? floor + 1 : floor;
}

}  // namespace qwop
