#include "broadphase.hpp"

#include <cstring>

namespace qwop {

// x and y share one register: a third of the instructions, and one branch for four comparisons.
typedef double Pair __attribute__((vector_size(16)));
typedef int64_t PairBits __attribute__((vector_size(16)));

static inline Pair load(const Vec2& v) {
    Pair pair;
    std::memcpy(&pair, &v, sizeof pair);
    return pair;
}

struct PairBox {
    Pair lower, upper;

    explicit PairBox(const Aabb& box) : lower(load(box.lower)), upper(load(box.upper)) {}
    void store(Aabb& box) const {
        std::memcpy(&box.lower, &lower, sizeof lower);
        std::memcpy(&box.upper, &upper, sizeof upper);
    }
    void include(const PairBox& other) {
        lower = lower < other.lower ? lower : other.lower;
        upper = upper > other.upper ? upper : other.upper;
    }
    bool holds(const PairBox& inner) const {
#if defined(__SSE2__)
        return _mm_movemask_pd(_mm_and_pd(_mm_cmple_pd(lower, inner.lower), _mm_cmple_pd(inner.upper, upper))) == 3;
#else
        const PairBits in = (lower <= inner.lower) & (inner.upper <= upper);
        return (in[0] & in[1]) != 0;
#endif
    }
    Pair twice_center() const { return lower + upper; }
};

static Aabb fatten(const Aabb& box, double x, double y) {
    return {{box.lower.x - x, box.lower.y - y}, {box.upper.x + x, box.upper.y + y}};
}

Aabb fattened(const Aabb& box, Vec2 displacement) {
    return fatten(box, AABB_EXTENSION + AABB_MULTIPLIER * std::fabs(displacement.x),
                  AABB_EXTENSION + AABB_MULTIPLIER * std::fabs(displacement.y));
}

NodeId Tree::create_leaf(const Aabb& box, uint8_t body) {
    const NodeId leaf = allocate();
    nodes[leaf].box = fatten(box, AABB_EXTENSION, AABB_EXTENSION);
    nodes[leaf].body = body;
    insert(leaf);
    return leaf;
}

void Tree::destroy_leaf(NodeId leaf) {
    remove(leaf);
    free(leaf);
}

bool Tree::move_leaf(NodeId leaf, const Aabb& box, Vec2 displacement) {
    if (contains(nodes[leaf].box, box)) return false;
    reinsert(leaf, fattened(box, displacement));
    return true;
}

void Tree::reinsert(NodeId leaf, const Aabb& fat_box) {
    remove(leaf);
    nodes[leaf].box = fat_box;
    insert(leaf);
}

NodeId Tree::allocate() {
    NodeId id = free_list;
    if (id != NO_NODE) {
        free_list = nodes[id].parent;
    } else {
        id = node_count++;
    }
    nodes[id].parent = nodes[id].child1 = nodes[id].child2 = NO_NODE;
    return id;
}

void Tree::free(NodeId id) {
    nodes[id].parent = free_list;
    free_list = id;
}

void Tree::insert(NodeId leaf) {
    if (root == NO_NODE) {
        root = leaf;
        nodes[leaf].parent = NO_NODE;
        return;
    }
    // Descend to the nearer child by the centers' distance |dx| + |dy|; a tie goes to child2.
    // The code compares twice the distances of twice the centers. Doubling is exact, so the result is the same.
    const Pair c = PairBox(nodes[leaf].box).twice_center();
    const auto distance = [&](NodeId id) {
        const Pair d = (Pair)((PairBits)(PairBox(nodes[id].box).twice_center() - c) & (PairBits{} + INT64_MAX));
        return d[0] + d[1];
    };
    NodeId sibling = root;
    while (!nodes[sibling].is_leaf()) {
        const NodeId child1 = nodes[sibling].child1, child2 = nodes[sibling].child2;
        // A branch is predicted right nine times in ten, before the boxes are loaded. A conditional move would wait for
        // them; the empty asm statement keeps compilers from using one.
        sibling = child2;
        if (distance(child1) < distance(child2)) {
            sibling = child1;
            __asm__("");
        }
    }

    const NodeId old_parent = nodes[sibling].parent;
    const NodeId new_parent = allocate();
    nodes[new_parent].parent = old_parent;
    PairBox box(nodes[leaf].box);
    box.include(PairBox(nodes[sibling].box));
    box.store(nodes[new_parent].box);
    nodes[new_parent].child1 = sibling;
    nodes[new_parent].child2 = leaf;
    if (old_parent == NO_NODE) {
        root = new_parent;
    } else if (nodes[old_parent].child1 == sibling) {
        nodes[old_parent].child1 = new_parent;
    } else {
        nodes[old_parent].child2 = new_parent;
    }
    nodes[sibling].parent = nodes[leaf].parent = new_parent;

    // Grow the ancestors, up to the first that already holds the new node.
    NodeId child = new_parent;
    for (NodeId id = old_parent; id != NO_NODE && !PairBox(nodes[id].box).holds(box); id = nodes[id].parent) {
        box.include(PairBox(nodes[nodes[id].other_child(child)].box));
        box.store(nodes[id].box);
        child = id;
    }
}

void Tree::remove(NodeId leaf) {
    if (leaf == root) {
        root = NO_NODE;
        return;
    }
    const NodeId parent = nodes[leaf].parent, grandparent = nodes[parent].parent;
    const NodeId sibling = nodes[parent].child1 == leaf ? nodes[parent].child2 : nodes[parent].child1;
    nodes[sibling].parent = grandparent;
    free(parent);
    if (grandparent == NO_NODE) {
        root = sibling;
        return;
    }
    if (nodes[grandparent].child1 == parent) {
        nodes[grandparent].child1 = sibling;
    } else {
        nodes[grandparent].child2 = sibling;
    }
    // Recompute upwards until the old box contains the new one. Except for rounding, it always does after one
    // ancestor, so in practice one ancestor shrinks and those above stay loose.
    for (NodeId id = grandparent; id != NO_NODE; id = nodes[id].parent) {
        const PairBox old(nodes[id].box);
        PairBox box(nodes[nodes[id].child1].box);
        box.include(PairBox(nodes[nodes[id].child2].box));
        box.store(nodes[id].box);
        if (old.holds(box)) break;
    }
}

}  // namespace qwop
