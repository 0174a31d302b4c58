// The contacts of a block's games, one game per lane: World::update_contacts for contacts of parts, and the list of
// constraints for the solver.
#pragma once
#include "lanes_contact.hpp"
#include "lanes_coupling.hpp"
#include "lanes_rules.hpp"

namespace qwop {
namespace lanes {

constexpr int MAX_CONTACTS = 2 * PARTS;  // a part touches two floors at most: on a seam

template <class V>
static inline void destroy_contact(Block<V>& b, int lane, int pair) {
    if (b.manifold[pair].count[lane] > 0) b.rest[pair / FLOOR_COUNT][lane] = 0;
    b.exists[pair] &= static_cast<uint8_t>(~(1u << lane));
    b.touching[pair] &= static_cast<uint8_t>(~(1u << lane));
    bridge::remove_contact(b.games[lane].world, FIRST_PART + pair / FLOOR_COUNT, FLOOR_0 + pair % FLOOR_COUNT);
}

// Contacts with the hurdle's top or the block that do not touch. In the lanes they can only end.
template <class V>
static inline void update_near_parts(Block<V>& b, int lane, int body) {
    const Aabb box = body == BLOCK ? bounds_of<V>(b.block_fat_box, lane) : b.hurdle_leaves[lane][0];
    unsigned& near_parts = b.near_parts(lane, body);
    for (unsigned left = near_parts; left; left &= left - 1) {
        const int p = __builtin_ctz(left);
        if (boxes_overlap(bounds_of<V>(b.fat_box[p], lane), box)) continue;
        near_parts &= ~(1u << p);
        bridge::remove_contact(b.games[lane].world, FIRST_PART + p, body);
    }
}

// coupled[lane]: parts that touch a hurdle that is awake.
template <class V>
static inline void update_contacts(Block<V>& b, unsigned running, unsigned (&coupled)[WIDTH<V>]) {
    for (unsigned left = running & b.with_near_parts; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        if (b.near_hurdle_top[lane] && bridge::hurdle_can_couple(b.games[lane].world))
            coupled[lane] = update_hurdle_parts(b, lane);
        else
            update_near_parts(b, lane, HURDLE_TOP);
        update_near_parts(b, lane, BLOCK);
        if (!(b.near_hurdle_top[lane] | b.near_block[lane])) b.with_near_parts &= ~(1u << lane);
    }
    uint64_t began[WIDTH<V>] = {};  // by lane: pairs that start to touch
    unsigned began_lanes = 0;
    for (int pair = 0; pair < PAIRS; ++pair) {
        const unsigned with_pair = b.exists[pair] & running;
        if (!with_pair) continue;
        const int p = pair / FLOOR_COUNT, f = pair % FLOOR_COUNT;
        const unsigned fat = bits<V>(overlapping<V>(b.fat_box[p], b.floor_fat_box[f]));
        for (unsigned gone = with_pair & ~fat; gone; gone &= gone - 1) destroy_contact(b, __builtin_ctz(gone), pair);
        const unsigned updated = with_pair & fat;
        if (!updated) continue;
        const unsigned tight = updated & bits<V>(overlapping<V>(b.box[p], b.floor_box[f]));
        const unsigned touching =
            update_manifold<V>(b.manifold[pair], FIRST_PART + p, b.floor_is_a[p][f], {b.x[p], b.y[p]},
                               {b.cos[p], b.sin[p]}, b.floor_x[f], updated, tight);
        const unsigned changes = (touching ^ b.touching[pair]) & updated;
        b.touching[pair] ^= static_cast<uint8_t>(changes);
        for (unsigned changed = changes; changed; changed &= changed - 1) {
            const int lane = __builtin_ctz(changed);
            b.rest[p][lane] = 0;
            if (!(touching >> lane & 1)) continue;
            began[lane] |= uint64_t{1} << pair;
            began_lanes |= 1u << lane;
        }
    }
    for (; began_lanes; began_lanes &= began_lanes - 1) {
        const int lane = __builtin_ctz(began_lanes);
        begin_contacts(b, lane, began[lane]);
    }
}

// Whether the part's contact with floor 1 is newer than that with floor 2.
static inline bool created_after(const World& world, int p, int floor1, int floor2) {
    const int slot1 = p * SURFACE_COUNT + floor1, slot2 = p * SURFACE_COUNT + floor2;
    for (int i = world.contact_count - 1; i >= 0; --i) {
        if (world.contact_order[i] == slot1) return true;
        if (world.contact_order[i] == slot2) return false;
    }
    return true;
}

// Fills in part, on_floor and active of a constraint for each touching contact, and returns their number. Contacts of
// one part come newest first, as in the contact list. Contacts of different parts act on different bodies, so their
// order does not matter. coupled[part]: lanes whose Coupling has this part's contacts.
template <class V>
static inline int gather_contacts(Block<V>& b, unsigned running, const unsigned (&coupled)[PARTS],
                                  ContactLanes<V>* contacts) {
    int count = 0;
    for (int p = 0; p < PARTS; ++p) {
        unsigned on[2][FLOOR_COUNT] = {}, any = 0, seam = 0;
        for (int f = 0; f < FLOOR_COUNT; ++f) {
            on[0][f] = b.touching[p * FLOOR_COUNT + f] & running & ~coupled[p];
            seam |= any & on[0][f];
            any |= on[0][f];
        }
        if (!any) continue;
        for (; seam; seam &= seam - 1) {
            const unsigned lane = __builtin_ctz(seam), bit = 1u << lane;
            const int first = on[0][0] & bit ? 0 : 1, second = first == 0 && on[0][1] & bit ? 1 : 2;
            const int older = created_after(b.games[lane].world, p, first, second) ? second : first;
            on[0][older] &= ~bit;
            on[1][older] |= bit;
        }
        for (int k = 0; k < 2; ++k) {
            if (!(on[k][0] | on[k][1] | on[k][2])) continue;
            ContactLanes<V>& contact = contacts[count++];
            contact.part = p;
            contact.body = FIRST_PART + p;
            for (int f = 0; f < FLOOR_COUNT; ++f) contact.on_floor[f] = mask_of<V>(on[k][f]);
            contact.active = contact.on_floor[0] | contact.on_floor[1] | contact.on_floor[2];
        }
    }
    return count;
}

}  // namespace lanes
}  // namespace qwop
