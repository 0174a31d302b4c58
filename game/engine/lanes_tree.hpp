// Applies the recorded moves to the trees of several games, interleaved. The result is that of Tree::reinsert, bit for
// bit. In one tree each move depends on the one before, and branch prediction cannot tell where a leaf goes.
// Interleaved, the CPU works on the moves of the other trees meanwhile.
#pragma once
#include "lanes_vector.hpp"
#include "scalar_bridge.hpp"

namespace qwop {
namespace lanes {

// A box as (lower x, lower y, -upper x, -upper y). The minimum of two boxes is the box that contains both.
typedef double Corners __attribute__((vector_size(32)));

static inline Aabb aabb_of(const Corners& b) { return {{b[0], b[1]}, {-b[2], -b[3]}}; }

constexpr int MOVE_CAPACITY = 256;
constexpr int FEW_MOVES = 16;  // fewer are faster one by one, with Tree::reinsert

// Moves of leaves that a game's tree does not have yet: the bodies, with their new fat boxes.
struct Moves {
    Corners box[MOVE_CAPACITY];
    uint8_t body[MOVE_CAPACITY];
    int count;

    QWOP_LANES_MEMBER void add(int moved, const Aabb& fat_box) {
        box[count] = Corners{fat_box.lower.x, fat_box.lower.y, -fat_box.upper.x, -fat_box.upper.y};
        body[count++] = static_cast<uint8_t>(moved);
    }
};

// A Tree laid out for many moves. Inner nodes are numbered from 0; the leaf of a body is LEAVES + body. A node's slot
// says where it is attached: its parent's number, plus SECOND if it is the later child. The root is in ROOT_SLOT.
// Hence `slot & ROOT_SLOT` is the parent's number.
template <class V>
struct FlatTree {
    using I = Mask<V>;
    static constexpr int SECOND = 32, ROOT_SLOT = 31, LEAVES = 32, NODES = LEAVES + BODY_COUNT,
                         INNER_NODES = BODY_COUNT - 1;

    alignas(64) double center_x[64], center_y[64];  // by slot: twice the center of its node
    alignas(64) int64_t child[64];  // by slot: its node
    alignas(64) int64_t nearer[64];  // by node: the child that the moving leaf goes to; of a leaf: itself
    Corners box[NODES];
    uint8_t slot[NODES];

    void load(const Tree& tree);
    void store(Tree& tree) const;
    unsigned unlink(unsigned leaf);  // returns its parent, which moves with it
    void choose_children(const Corners& fat);
    unsigned link(unsigned leaf, const Corners& fat, unsigned parent, unsigned sibling);  // returns the parent's slot
    void enlarge_ancestors(unsigned at);

  private:
    // Conversion between these numbers and Tree's. It is the same in every game, because a leaf keeps its node, and its
    // parent moves with it.
    struct Numbers {
        int8_t of_node[MAX_NODES], node[NODES];
        Numbers();
    };
    static const Numbers& numbers() {
        static const Numbers instance;
        return instance;
    }
    QWOP_LANES_MEMBER static void include(Corners& a, const Corners& b) { a = a < b ? a : b; }
    QWOP_LANES_MEMBER static bool contains_box(const Corners& outer, const Corners& inner) {
#if defined(__AVX__)
        return bits<Corners>(outer <= inner) == 15;
#else
        return (outer[0] <= inner[0]) & (outer[1] <= inner[1]) & (outer[2] <= inner[2]) & (outer[3] <= inner[3]);
#endif
    }
    QWOP_LANES_MEMBER void put_center(unsigned at, const Corners& b) {
        center_x[at] = b[0] - b[2];
        center_y[at] = b[1] - b[3];
    }
};

template <class V>
FlatTree<V>::Numbers::Numbers() : of_node{}, node{} {
    const Tree& tree = Game::canonical(Trig::rounded).world.tree;
    bool free[MAX_NODES] = {};
    for (int id = tree.free_list; id != NO_NODE; id = tree.nodes[id].parent) free[id] = true;
    for (int id = 0, inner = 0; id < MAX_NODES; ++id) {
        of_node[id] = NO_NODE;
        if (id >= tree.node_count || free[id]) continue;
        const int number = tree.nodes[id].child1 == NO_NODE ? LEAVES + tree.nodes[id].body : inner++;
        of_node[id] = static_cast<int8_t>(number);
        node[number] = static_cast<int8_t>(id);
    }
}

template <class V>
void FlatTree<V>::load(const Tree& tree) {
    const Numbers& n = numbers();
    for (int i = 0; i < 64; ++i) {
        center_x[i] = center_y[i] = 0;
        child[i] = LEAVES;
        nearer[i] = i;
    }
    for (int id = 0; id < MAX_NODES; ++id) {
        if (n.of_node[id] == NO_NODE) continue;
        const Aabb& b = tree.nodes[id].box;
        box[n.of_node[id]] = Corners{b.lower.x, b.lower.y, -b.upper.x, -b.upper.y};
    }
    const auto attach = [&](int id, int at) {
        const int number = n.of_node[id];
        slot[number] = static_cast<uint8_t>(at);
        child[at] = number;
        put_center(at, box[number]);
    };
    for (int i = 0; i < INNER_NODES; ++i) {
        attach(tree.nodes[n.node[i]].child1, i);
        attach(tree.nodes[n.node[i]].child2, i + SECOND);
    }
    attach(tree.root, ROOT_SLOT);
    slot[ROOT_SLOT] = ROOT_SLOT - 1;  // unused: unlink writes there when it is at the root
}

template <class V>
void FlatTree<V>::store(Tree& tree) const {
    const Numbers& n = numbers();
    for (int id = 0; id < MAX_NODES; ++id) {
        const int number = n.of_node[id];
        if (number == NO_NODE) continue;
        TreeNode& node = tree.nodes[id];
        const Corners& b = box[number];
        const int parent = slot[number] & ROOT_SLOT;
        node.box = aabb_of(b);
        node.parent = parent == ROOT_SLOT ? NO_NODE : n.node[parent];
        if (number >= LEAVES) continue;
        node.child1 = n.node[child[number]];
        node.child2 = n.node[child[number + SECOND]];
    }
    tree.root = n.node[child[ROOT_SLOT]];
}

// Tree::remove. Only the box above the removed parent shrinks: the boxes above it stay as they are.
template <class V>
unsigned FlatTree<V>::unlink(unsigned leaf) {
    const unsigned at = slot[leaf], parent = at & ROOT_SLOT, up = slot[parent], above = up & ROOT_SLOT;
    const int64_t sibling = child[at ^ SECOND];
    child[up] = sibling;
    slot[sibling] = static_cast<uint8_t>(up);
    center_x[up] = center_x[at ^ SECOND];
    center_y[up] = center_y[at ^ SECOND];
    box[above] = box[child[above]];
    include(box[above], box[child[above + SECOND]]);
    put_center(slot[above], box[above]);
    return parent;
}

// Tree::insert's choice of a child, at every inner node, whether the leaf gets there or not.
template <class V>
void FlatTree<V>::choose_children(const Corners& fat) {
    const V x = splat<V>(fat[0] - fat[2]), y = splat<V>(fat[1] - fat[3]);
    const auto distance = [&](int first_slot) {
        V to_x, to_y;
        __builtin_memcpy(&to_x, center_x + first_slot, sizeof(V));
        __builtin_memcpy(&to_y, center_y + first_slot, sizeof(V));
        return trig::magnitude<V>(to_x - x) + trig::magnitude<V>(to_y - y);
    };
    for (int i = 0; i < INNER_NODES; i += WIDTH<V>) {
        I first, second;
        __builtin_memcpy(&first, child + i, sizeof(I));
        __builtin_memcpy(&second, child + SECOND + i, sizeof(I));
        const I chosen = distance(i) < distance(SECOND + i) ? first : second;
        __builtin_memcpy(nearer + i, &chosen, sizeof(I));
    }
}

template <class V>
unsigned FlatTree<V>::link(unsigned leaf, const Corners& fat, unsigned parent, unsigned sibling) {
    const unsigned at = slot[sibling];
    child[at] = parent;
    child[parent] = sibling;
    child[parent + SECOND] = leaf;
    slot[parent] = static_cast<uint8_t>(at);
    slot[sibling] = static_cast<uint8_t>(parent);
    slot[leaf] = static_cast<uint8_t>(parent + SECOND);
    box[leaf] = box[parent] = fat;
    include(box[parent], box[sibling]);
    put_center(parent, box[sibling]);
    put_center(parent + SECOND, fat);
    put_center(at, box[parent]);
    return at;
}

// Enlarges the boxes above the node in this slot, up to the first that already contains it.
template <class V>
void FlatTree<V>::enlarge_ancestors(unsigned at) {
    Corners b = box[child[at]];
    for (unsigned node = at & ROOT_SLOT; node != ROOT_SLOT && !contains_box(box[node], b); node = at & ROOT_SLOT) {
        include(b, box[child[at ^ SECOND]]);
        box[node] = b;
        at = slot[node];
        put_center(at, b);
    }
}

// Applies the moves of `count` games to their trees. moves: the longest list first.
template <class V>
void reinsert_interleaved(Tree* const* trees, Moves* const* moves, int count) {
    constexpr int W = WIDTH<V>, LEAVES = FlatTree<V>::LEAVES;
    FlatTree<V> flat[W];
    for (int i = 0; i < W; ++i) flat[i].load(*trees[i < count ? i : 0]);  // spare ones too: all descend together
    for (int k = 0, remaining = count;; ++k) {
        while (remaining > 0 && moves[remaining - 1]->count == k) --remaining;
        if (remaining == 0) break;
        unsigned leaf[W], parent[W], at[W];
        for (int i = 0; i < remaining; ++i) {
            leaf[i] = LEAVES + moves[i]->body[k];
            parent[i] = flat[i].unlink(leaf[i]);
        }
        for (int i = 0; i < remaining; ++i) flat[i].choose_children(moves[i]->box[k]);
        int64_t sibling[W];
        for (int i = 0; i < W; ++i) sibling[i] = i < remaining ? flat[i].child[FlatTree<V>::ROOT_SLOT] : LEAVES;
        for (int64_t inner = 0; inner < LEAVES;) {  // until all are at leaves, where they stay
            for (int step = 0; step < 4; ++step)
                for (int i = 0; i < W; ++i) sibling[i] = flat[i].nearer[sibling[i]];
            inner = LEAVES;
            for (int i = 0; i < W; ++i) inner = sibling[i] < inner ? sibling[i] : inner;
        }
        for (int i = 0; i < remaining; ++i)
            at[i] = flat[i].link(leaf[i], moves[i]->box[k], parent[i], static_cast<unsigned>(sibling[i]));
        for (int i = 0; i < remaining; ++i) flat[i].enlarge_ancestors(at[i]);
    }
    for (int i = 0; i < count; ++i) flat[i].store(*trees[i]);
}

}  // namespace lanes
}  // namespace qwop
