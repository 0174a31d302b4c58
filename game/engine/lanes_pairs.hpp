// The broad phase after a step, one game per lane: boxes that moved, and the new pairs that they make.
//
// It needs no tree. A test of boxes finds which parts are near which surfaces. The order of a part's pairs is the order
// in which a query of the tree visits the surfaces. Reinserting a part's leaf never reorders other leaves, so that
// order changes only when a floor or the hurdle moves. The moves of parts are recorded, and applied to the tree when
// the scalar engine next needs it.
#pragma once
#include "lanes_block.hpp"

namespace qwop {
namespace lanes {

// World::move_leaf for all parts. moved[p]: lanes in which the part's leaf moved.
template <class V>
static inline void move_parts(Block<V>& b, const V* previous_x, const V* previous_y, unsigned running,
                              unsigned (&moved)[PARTS]) {
    for (int p = PARTS - 1; p >= 0; --p) {
        const Bounds<V> before = b.pose_box[p];
        const Bounds<V> now = tight_bounds<V>(FIRST_PART + p, {b.x[p], b.y[p]}, {b.cos[p], b.sin[p]});
        b.pose_box[p] = now;
        b.box[p] = combined<V>(before, now);
        moved[p] = running & ~bits<V>(containing<V>(b.fat_box[p], b.box[p]));
        if (!moved[p]) continue;
        fatten<V>(b.fat_box[p], b.box[p], b.x[p] - previous_x[p], b.y[p] - previous_y[p], mask_of<V>(moved[p]));
        for (unsigned left = moved[p]; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            b.record_move(lane, FIRST_PART + p, bounds_of<V>(b.fat_box[p], lane));
        }
    }
}

// Steps the hurdles, in the vectors or in their Worlds. moved[lane]: bit 0 if the top's leaf moved, bit 1
// if the base's did.
// coupled: lanes in which a Coupling has solved the hurdle.
template <class V>
static inline void step_hurdles(Block<V>& b, unsigned running, unsigned coupled, uint8_t (&moved)[WIDTH<V>]) {
    unsigned moved_lanes[2] = {};
    if (b.hurdle.lanes) {
        unsigned ended[HurdleLanes<V>::HURDLE_PAIRS] = {};
        unsigned on_two_floors = b.hurdle.update_contacts(b, ended);
        for (int pair = 0; pair < HurdleLanes<V>::HURDLE_PAIRS; ++pair)
            for (unsigned left = ended[pair]; left; left &= left - 1)
                bridge::remove_contact(b.games[__builtin_ctz(left)].world, HURDLE_PARTS[pair / FLOOR_COUNT],
                                       FLOOR_0 + pair % FLOOR_COUNT);
        for (; on_two_floors; on_two_floors &= on_two_floors - 1) {
            const int lane = __builtin_ctz(on_two_floors);
            b.hurdle.store(b.games[lane].world, lane);  // World::step_hurdle updates the contacts again, to the same
        }
        b.hurdle.step(b.trig, b.floor_x, moved_lanes);
    }
    for (unsigned left = running & b.hurdle_active; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        Aabb* leaves = b.hurdle_leaves[lane];
        if (b.hurdle.lanes >> lane & 1) {
            for (int i = 0; i < 2; ++i) {
                const unsigned leaf_moved = moved_lanes[i] >> lane & 1;
                if (leaf_moved) leaves[i] = bounds_of<V>(b.hurdle.fat_box[i], lane);
                moved[lane] |= static_cast<uint8_t>(leaf_moved << i);
            }
        } else {
            World& world = b.games[lane].world;
            moved[lane] =
                static_cast<uint8_t>(coupled >> lane & 1 ? world.move_hurdle(leaves) : world.step_hurdle(leaves));
        }
        if (moved[lane] & 1) {
            b.record_move(lane, HURDLE_TOP, leaves[0]);
            set_bounds<V>(b.hurdle_fat_box, lane, leaves[0]);
        }
        if (moved[lane] & 2) b.record_move(lane, HURDLE_BASE, leaves[1]);
    }
}

template <class V>
static inline void update_surface_order(Block<V>& b, int lane) {
    b.apply_moves(lane);
    bridge::surface_order(b.games[lane].world.tree, b.surfaces[lane]);
}

// World::find_new_contacts for the parts that moved.
template <class V>
static inline void find_part_pairs(Block<V>& b, const unsigned (&moved)[PARTS]) {
    for (int p = PARTS - 1; p >= 0; --p) {
        if (!moved[p]) continue;
        unsigned found[SURFACE_COUNT];  // lanes with a new pair
        for (int f = 0; f < FLOOR_COUNT; ++f) found[f] = bits<V>(overlapping<V>(b.fat_box[p], b.floor_fat_box[f]));
        found[SURFACE_BLOCK] = bits<V>(overlapping<V>(b.fat_box[p], b.block_fat_box));
        found[SURFACE_HURDLE_TOP] = bits<V>(overlapping<V>(b.fat_box[p], b.hurdle_fat_box));
        unsigned any = 0;
        for (int f = 0; f < FLOOR_COUNT; ++f) {
            found[f] &= moved[p] & ~b.exists[p * FLOOR_COUNT + f];
            any |= found[f];
        }
        found[SURFACE_BLOCK] &= moved[p];
        found[SURFACE_HURDLE_TOP] &= moved[p];
        for (unsigned left = (found[SURFACE_BLOCK] | found[SURFACE_HURDLE_TOP]) & b.with_near_parts; left;
             left &= left - 1) {
            const int lane = __builtin_ctz(left);
            found[SURFACE_BLOCK] &= ~((b.near_block[lane] >> p & 1) << lane);
            found[SURFACE_HURDLE_TOP] &= ~((b.near_hurdle_top[lane] >> p & 1) << lane);
        }
        any |= found[SURFACE_BLOCK] | found[SURFACE_HURDLE_TOP];
        for (; any; any &= any - 1) {
            const int lane = __builtin_ctz(any);
            // A moving hurdle may have changed its position in the order, which matters if the part has another pair.
            const unsigned others = found[0] | found[1] | found[2] | found[SURFACE_BLOCK];
            if (others & found[SURFACE_HURDLE_TOP] & b.hurdle_active & 1u << lane) update_surface_order(b, lane);
            for (const uint8_t surface : b.surfaces[lane]) {
                if (!(found[surface] >> lane & 1)) continue;
                const int body = surface == SURFACE_HURDLE_TOP ? int{HURDLE_TOP} : int{surface};
                bridge::add_contact(b.games[lane].world, FIRST_PART + p, body);
                if (surface >= FLOOR_COUNT) {
                    b.record_near_part(lane, FIRST_PART + p, body);
                } else {
                    b.exists[p * FLOOR_COUNT + surface] |= static_cast<uint8_t>(1u << lane);
                    b.manifold[p * FLOOR_COUNT + surface].count[lane] = 0;
                }
            }
        }
    }
}

// The same for a hurdle that moved. If one of its bodies has several new pairs, the tree gives their order.
template <class V>
static inline void find_hurdle_pairs(Block<V>& b, int lane, unsigned moved) {
    World& world = b.games[lane].world;
    for (int i = 0; i < 2; ++i) {
        if (!(moved >> i & 1)) continue;
        const Aabb leaf = b.hurdle_leaves[lane][i];
        int count = 0, found = 0;
        const auto look_at = [&](int body, const Bounds<V>& bounds) {
            if (!boxes_overlap(leaf, bounds_of<V>(bounds, lane))) return;
            if (bridge::has_contact(world, HURDLE_PARTS[i], body)) return;
            found = body;
            ++count;
        };
        for (int f = 0; f < FLOOR_COUNT; ++f) look_at(FLOOR_0 + f, b.floor_fat_box[f]);
        look_at(BLOCK, b.block_fat_box);
        for (int p = 0; p < PARTS && i == 0; ++p) look_at(FIRST_PART + p, b.fat_box[p]);  // none touches the base
        if (!count) continue;
        if (count == 1 && found >= FIRST_PART) {
            bridge::add_contact(world, found, HURDLE_TOP);
            b.record_near_part(lane, found, HURDLE_TOP);
            continue;
        }
        b.hurdle.store(world, lane);
        if (count == 1) {
            bridge::add_contact(world, HURDLE_PARTS[i], found);
            continue;
        }
        b.apply_moves(lane);
        world.find_pairs(HURDLE_PARTS[i]);
        for (int p = 0; p < PARTS; ++p)
            if (bridge::has_contact(world, FIRST_PART + p, HURDLE_TOP))
                b.record_near_part(lane, FIRST_PART + p, HURDLE_TOP);
    }
}

// Whether a part will touch the hurdle's top or the block in the next step. Then the scalar engine makes this step, if
// the hurdle sleeps.
template <class V>
static inline bool touches_next(Block<V>& b, int lane, int body) {
    World& world = b.games[lane].world;
    const Aabb box = world.bodies[body].box;
    for (unsigned left = b.near_parts(lane, body); left; left &= left - 1) {
        const int p = __builtin_ctz(left);
        if (!boxes_overlap(bounds_of<V>(b.box[p], lane), box)) continue;
        if (bridge::would_touch(world, FIRST_PART + p, part_transform<V>(b, p, lane), body)) return true;
    }
    return false;
}

// Likewise for floors that sleep.
template <class V>
static inline bool wakes_floor_next(Block<V>& b, int lane) {
    World& world = b.games[lane].world;
    for (int f = 0; f < FLOOR_COUNT; ++f) {
        if (world.bodies[FLOOR_0 + f].awake) continue;
        const Aabb floor = bounds_of<V>(b.floor_box[f], lane);
        for (int p = 0; p < PARTS; ++p) {
            if (!(b.exists[p * FLOOR_COUNT + f] >> lane & 1)) continue;
            if (b.touching[p * FLOOR_COUNT + f] >> lane & 1) return true;
            if (!boxes_overlap(bounds_of<V>(b.box[p], lane), floor)) continue;
            if (bridge::would_touch(world, FIRST_PART + p, part_transform<V>(b, p, lane), FLOOR_0 + f)) return true;
        }
    }
    return false;
}

// The second half of World::step. Lanes that the vectors cannot step next go to the scalar engine.
template <class V>
static inline void find_pairs(Block<V>& b, const V* previous_x, const V* previous_y, unsigned running,
                              unsigned coupled) {
    unsigned moved[PARTS];
    move_parts(b, previous_x, previous_y, running, moved);
    uint8_t hurdle_moved[WIDTH<V>] = {};
    step_hurdles(b, running, coupled, hurdle_moved);
    const unsigned resting = b.hurdle.resting();
    find_part_pairs(b, moved);
    for (unsigned left = running & b.hurdle_active; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        if (hurdle_moved[lane]) find_hurdle_pairs(b, lane, hurdle_moved[lane]);
        World& world = b.games[lane].world;
        if (resting >> lane & 1) b.hurdle.store(world, lane);
        if ((b.hurdle.lanes | resting) >> lane & 1) continue;
        if (wakes_floor_next(b, lane)) b.scalar_next |= 1u << lane;
        if (bridge::hurdle_fits_lanes(world)) b.load_hurdle(lane);
    }
    for (unsigned left = running & b.with_near_parts; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        const bool couples = bridge::hurdle_can_couple(b.games[lane].world);
        if ((!couples && touches_next(b, lane, HURDLE_TOP)) || touches_next(b, lane, BLOCK))
            b.scalar_next |= 1u << lane;
    }
}

}  // namespace lanes
}  // namespace qwop
