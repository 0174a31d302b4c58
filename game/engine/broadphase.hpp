// The broad phase: a dynamic tree of fattened boxes (after Presson's btDbvt). The order in which it finds pairs
// changes the physics, because contacts are solved in the order of their creation. So the tree's shape, its node
// numbers and its loose ancestors are part of a game's state.
#pragma once
#include <cstdint>

#include "constants.hpp"
#include "math.hpp"

namespace qwop {

struct Aabb {
    Vec2 lower, upper;
};

inline bool overlap(const Aabb& a, const Aabb& b) {
    return !(b.lower.x - a.upper.x > 0 || b.lower.y - a.upper.y > 0 || a.lower.x - b.upper.x > 0 ||
             a.lower.y - b.upper.y > 0);
}

inline bool contains(const Aabb& outer, const Aabb& inner) {
    return outer.lower.x <= inner.lower.x && outer.lower.y <= inner.lower.y && inner.upper.x <= outer.upper.x &&
           inner.upper.y <= outer.upper.y;
}

inline Aabb combine(const Aabb& a, const Aabb& b) {
    return {{min(a.lower.x, b.lower.x), min(a.lower.y, b.lower.y)},
            {max(a.upper.x, b.upper.x), max(a.upper.y, b.upper.y)}};
}

// The new box of a leaf that moves: the tight box, and twice the frame's displacement as margin on each side.
Aabb fattened(const Aabb& box, Vec2 displacement);

using NodeId = int8_t;
constexpr NodeId NO_NODE = -1;
constexpr int MAX_NODES = 2 * BODY_COUNT;

struct TreeNode {
    Aabb box;
    NodeId parent, child1, child2;  // a free node's parent is the next free node
    uint8_t body;                   // of a leaf

    bool is_leaf() const { return child1 == NO_NODE; }
    NodeId other_child(NodeId child) const { return static_cast<NodeId>(child1 ^ child2 ^ child); }
};

struct Tree {
    TreeNode nodes[MAX_NODES];
    NodeId root = NO_NODE, free_list = NO_NODE, node_count = 0;

    // `box` is the tight box; the leaf keeps it fattened by AABB_EXTENSION.
    NodeId create_leaf(const Aabb& box, uint8_t body);
    void destroy_leaf(NodeId leaf);
    // Reinserts the leaf if `box` is no longer inside its fat box; returns whether it did.
    bool move_leaf(NodeId leaf, const Aabb& box, Vec2 displacement);

    // Removes the leaf and inserts it again with this fat box.
    void reinsert(NodeId leaf, const Aabb& fat_box);

    // Calls visit(leaf) for each leaf that overlaps `box`, the later child first.
    template <class Visit>
    void query(const Aabb& box, Visit visit) const {
        NodeId stack[MAX_NODES];
        int count = 0;
        if (root != NO_NODE) stack[count++] = root;
        while (count > 0) {
            const NodeId id = stack[--count];
            const TreeNode& node = nodes[id];
            if (!overlap(node.box, box)) continue;
            if (node.is_leaf()) {
                visit(id);
            } else {
                stack[count++] = node.child1;
                stack[count++] = node.child2;
            }
        }
    }

  private:
    NodeId allocate();
    void free(NodeId id);
    void insert(NodeId leaf);
    void remove(NodeId leaf);
};

}  // namespace qwop
