#include "manifold.hpp"

#include <limits>

namespace qwop {

static int next(int edge) { return (edge + 1) & 3; }
static int previous(int edge) { return (edge + 3) & 3; }

static Vec2 normal_of(int edge) { return {BOX_NORMALS[edge][0], BOX_NORMALS[edge][1]}; }

// Separation of box 2 from box 1 along the normal of one edge of box 1.
static double edge_separation(const Box& box1, const Transform& xf1, int edge, const Box& box2, const Transform& xf2) {
    const Vec2 normal_world = rotate(xf1.rotation, normal_of(edge));
    const Vec2 normal = unrotate(xf2.rotation, normal_world);
    int support = 0;
    double least = std::numeric_limits<double>::max();
    for (int i = 0; i < 4; ++i) {
        const double d = dot(box2.vertices[i], normal);
        if (d < least) {
            least = d;
            support = i;
        }
    }
    const Vec2 v1 = to_world(xf1, box1.vertices[edge]);
    const Vec2 v2 = to_world(xf2, box2.vertices[support]);
    return dot(v2 - v1, normal_world);
}

// The greatest such separation: start at the edge that faces box 2's center, then climb strictly uphill.
static double max_separation(int& best_edge, const Box& box1, const Transform& xf1, const Box& box2,
                             const Transform& xf2) {
    const Vec2 local = unrotate(xf1.rotation, xf2.position - xf1.position);
    int edge = 0;
    double most = -std::numeric_limits<double>::max();
    for (int i = 0; i < 4; ++i) {
        const double d = dot(normal_of(i), local);
        if (d > most) {
            most = d;
            edge = i;
        }
    }
    const double here = edge_separation(box1, xf1, edge, box2, xf2);
    const double before = edge_separation(box1, xf1, previous(edge), box2, xf2);
    const double after = edge_separation(box1, xf1, next(edge), box2, xf2);

    int (*step)(int);
    double best;
    if (before > here && before > after) {
        step = previous;
        best = before;
    } else if (after > here) {
        step = next;
        best = after;
    } else {
        best_edge = edge;
        return here;
    }
    best_edge = step(edge);
    for (;;) {
        edge = step(best_edge);
        const double s = edge_separation(box1, xf1, edge, box2, xf2);
        if (!(s > best)) return best;
        best_edge = edge;
        best = s;
    }
}

struct ClipVertex {
    Vec2 v;
    uint32_t key;  // which features made it
};

// Sutherland-Hodgman: keeps the part of segment `in` with dot(normal, v) <= offset. Returns the number of
// vertices kept. (In the game, clip vertices share key objects: an interpolated one refers to that of its source.
// This has no effect: such a vertex always comes second, after its source has been read.)
static int clip(ClipVertex (&out)[2], const ClipVertex (&in)[2], Vec2 normal, double offset) {
    const double d0 = normal.x * in[0].v.x + normal.y * in[0].v.y - offset;
    const double d1 = normal.x * in[1].v.x + normal.y * in[1].v.y - offset;
    int count = 0;
    if (d0 <= 0) out[count++] = in[0];
    if (d1 <= 0) out[count++] = in[1];
    if (d0 * d1 < 0) {
        const double t = d0 / (d0 - d1);
        out[count++] = {{in[0].v.x + t * (in[1].v.x - in[0].v.x), in[0].v.y + t * (in[1].v.y - in[0].v.y)},
                        in[d0 > 0 ? 0 : 1].key};
    }
    return count;
}

void collide(Manifold& manifold, const Box& box_a, const Transform& xf_a, const Box& box_b, const Transform& xf_b) {
    manifold.point_count = 0;
    const double radius = POLYGON_RADIUS + POLYGON_RADIUS;

    int edge_a, edge_b;
    const double separation_a = max_separation(edge_a, box_a, xf_a, box_b, xf_b);
    if (separation_a > radius) return;
    const double separation_b = max_separation(edge_b, box_b, xf_b, box_a, xf_a);
    if (separation_b > radius) return;

    // The face of box A is the reference unless that of B is clearly the better separator.
    const bool flip = separation_b > 0.98 * separation_a + 0.001;
    const Box &box1 = flip ? box_b : box_a, &box2 = flip ? box_a : box_b;
    const Transform &xf1 = flip ? xf_b : xf_a, &xf2 = flip ? xf_a : xf_b;
    const int edge1 = flip ? edge_b : edge_a;
    manifold.face_b = flip;

    // The incident edge of box 2: the one most against the reference face's normal.
    const Vec2 face_normal = unrotate(xf2.rotation, rotate(xf1.rotation, normal_of(edge1)));
    int incident = 0;
    double least = std::numeric_limits<double>::max();
    for (int i = 0; i < 4; ++i) {
        const double d = dot(face_normal, normal_of(i));
        if (d < least) {
            least = d;
            incident = i;
        }
    }
    const auto vertex = [&](int edge, int number) {
        const int key = edge1 | edge << 8 | number << 16;
        return ClipVertex{to_world(xf2, box2.vertices[edge]), static_cast<uint32_t>(key)};
    };
    const ClipVertex incident_edge[2] = {vertex(incident, 0), vertex(next(incident), 1)};
    ClipVertex clipped1[2], clipped2[2];

    const Vec2 tangent = rotate(xf1.rotation, box1.face_tangents[edge1]);
    const Vec2 normal{tangent.y, -tangent.x};
    const Vec2 v11 = to_world(xf1, box1.vertices[edge1]);
    const Vec2 v12 = to_world(xf1, box1.vertices[next(edge1)]);
    const double front_offset = normal.x * v11.x + normal.y * v11.y;
    const double side_offset1 = -tangent.x * v11.x - tangent.y * v11.y + radius;
    const double side_offset2 = tangent.x * v12.x + tangent.y * v12.y + radius;

    if (clip(clipped1, incident_edge, {-tangent.x, -tangent.y}, side_offset1) < 2) return;
    if (clip(clipped2, clipped1, tangent, side_offset2) < 2) return;

    manifold.local_normal = box1.face_normals[edge1];
    manifold.local_point = box1.face_centers[edge1];
    for (const ClipVertex& c : clipped2) {
        const double separation = normal.x * c.v.x + normal.y * c.v.y - front_offset;
        if (separation <= radius) {
            ManifoldPoint& point = manifold.points[manifold.point_count++];
            point.local_point = unrotate(xf2.rotation, c.v - xf2.position);
            point.key = c.key | static_cast<uint32_t>(flip) << 24;
            point.normal_impulse = point.tangent_impulse = 0;
        }
    }
}

WorldManifold world_manifold(const Manifold& m, const Transform& xf_a, const Transform& xf_b) {
    const Transform &face = m.face_b ? xf_b : xf_a, &other = m.face_b ? xf_a : xf_b;
    // Unlike to_world: here position comes first, ((p + c x) - s y), and the last bit tells the two apart.
    const auto point_of = [](const Transform& xf, Vec2 v) {
        return Vec2{xf.position.x + xf.rotation.cos * v.x + -xf.rotation.sin * v.y,
                    xf.position.y + xf.rotation.sin * v.x + xf.rotation.cos * v.y};
    };
    WorldManifold w;
    const Vec2 n = rotate(face.rotation, m.local_normal);
    const Vec2 plane = point_of(face, m.local_point);
    w.normal = m.face_b ? Vec2{-n.x, -n.y} : n;
    for (int i = 0; i < m.point_count; ++i) {
        const Vec2 c = point_of(other, m.points[i].local_point);
        const double depth = 0.5 * (POLYGON_RADIUS - (c.x - plane.x) * n.x - (c.y - plane.y) * n.y - POLYGON_RADIUS);
        w.points[i] = {c.x + depth * n.x, c.y + depth * n.y};
    }
    return w;
}

}  // namespace qwop
