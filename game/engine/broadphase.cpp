#include "broadphase.hpp"

namespace qwop {

static Vec2 centre(const Aabb& box) { return {(box.lower.x + box.upper.x) * 0.5, (box.lower.y + box.upper.y) * 0.5}; }

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
    // Descend to the nearer child by the centres' distance |dx| + |dy|; a tie goes to child2.
    const Vec2 c = centre(nodes[leaf].box);
    const auto distance = [&](NodeId id) {
        const Vec2 d = centre(nodes[id].box) - c;
        return std::fabs(d.x) + std::fabs(d.y);
    };
    NodeId sibling = root;
    while (!nodes[sibling].is_leaf()) {
        const NodeId child1 = nodes[sibling].child1, child2 = nodes[sibling].child2;
        sibling = distance(child1) < distance(child2) ? child1 : child2;
    }

    const NodeId old_parent = nodes[sibling].parent;
    const NodeId new_parent = allocate();
    nodes[new_parent].parent = old_parent;
    nodes[new_parent].box = combine(nodes[leaf].box, nodes[sibling].box);
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
    for (NodeId id = old_parent; id != NO_NODE && !contains(nodes[id].box, nodes[child].box); id = nodes[id].parent) {
        nodes[id].box = combine(nodes[nodes[id].child1].box, nodes[nodes[id].child2].box);
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
    // Recompute upwards until a box no longer shrinks past its old self. An old box always holds the new
    // one unless rounding interferes, so in practice one ancestor shrinks and those above stay loose.
    for (NodeId id = grandparent; id != NO_NODE; id = nodes[id].parent) {
        const Aabb old = nodes[id].box;
        nodes[id].box = combine(nodes[nodes[id].child1].box, nodes[nodes[id].child2].box);
        if (contains(old, nodes[id].box)) break;
    }
}

}  // namespace qwop
