// The trees of several games taken through their noted moves, all in step: bit for bit what Tree::reinsert makes of
// each. A move waits for the one before, and nobody foresees where a leaf goes; the other trees' moves fill the time.
#pragma once
#include "lanes_vector.hpp"
#include "scalar_bridge.hpp"

namespace qwop {
namespace lanes {

// A box as (lower x, lower y, -upper x, -upper y): of two boxes the least of each number is the box that holds both.
typedef double Corners __attribute__((vector_size(32)));

static inline Aabb aabb_of(const Corners& b) { return {{b[0], b[1]}, {-b[2], -b[3]}}; }

constexpr int MOVE_CAPACITY = 256;
constexpr int FEW_MOVES = 16;  // so few are faster made one by one

// Leaves taken out of a game's tree and put in again with these fat boxes.
struct Moves {
    Corners box[MOVE_CAPACITY];
    uint8_t body[MOVE_CAPACITY];
    int count;

    QWOP_LANES_MEMBER void add(int moved, const Aabb& fat_box) {
        box[count] = Corners{fat_box.lower.x, fat_box.lower.y, -fat_box.upper.x, -fat_box.upper.y};
        body[count++] = static_cast<uint8_t>(moved);
    }
};

// A Tree laid out for many moves. Inner nodes are numbered from 0, the leaf of a body is LEAVES + body. A node hangs
// in a place: its parent's number, plus SECOND for the later child; the root hangs in TOP.
template <class V>
struct FlatTree {
    using I = Mask<V>;
    static constexpr int SECOND = 32, TOP = 31, LEAVES = 32, NODES = LEAVES + BODY_COUNT, INNER_NODES = BODY_COUNT - 1;

    alignas(64) double centre_x[64], centre_y[64];  // by place: twice the centre of what hangs there
    alignas(64) int64_t child[64];                  // by place: what hangs there
    alignas(64) int64_t nearer[64];  // to which child of a node the leaf at hand descends; a leaf's: itself
    Corners box[NODES];
    uint8_t place[NODES];

    void load(const Tree& tree);
    void store(Tree& tree) const;
    unsigned unlink(unsigned leaf);  // returns its parent, which goes where the leaf goes
    void choose(const Corners& fat);
    unsigned link(unsigned leaf, const Corners& fat, unsigned parent, unsigned sibling);  // returns their place
    void grow(unsigned at);

  private:
    // Between these numbers and Tree's. They are the same in every game: a leaf keeps its node and its parent's
    // goes with it.
    struct Numbers {
        int8_t of_node[MAX_NODES], node[NODES];
        Numbers();
    };
    static const Numbers& numbers() {
        static const Numbers instance;
        return instance;
    }
    QWOP_LANES_MEMBER static void include(Corners& a, const Corners& b) { a = a < b ? a : b; }
    QWOP_LANES_MEMBER static bool holds(const Corners& outer, const Corners& inner) {
#if defined(__AVX__)
        return bits<Corners>(outer <= inner) == 15;
#else
        return (outer[0] <= inner[0]) & (outer[1] <= inner[1]) & (outer[2] <= inner[2]) & (outer[3] <= inner[3]);
#endif
    }
    QWOP_LANES_MEMBER void put_centre(unsigned at, const Corners& b) {
        centre_x[at] = b[0] - b[2];
        centre_y[at] = b[1] - b[3];
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
        centre_x[i] = centre_y[i] = 0;
        child[i] = LEAVES;
        nearer[i] = i;
    }
    for (int id = 0; id < MAX_NODES; ++id) {
        if (n.of_node[id] == NO_NODE) continue;
        const Aabb& b = tree.nodes[id].box;
        box[n.of_node[id]] = Corners{b.lower.x, b.lower.y, -b.upper.x, -b.upper.y};
    }
    const auto hang = [&](int id, int at) {
        const int number = n.of_node[id];
        place[number] = static_cast<uint8_t>(at);
        child[at] = number;
        put_centre(at, box[number]);
    };
    for (int i = 0; i < INNER_NODES; ++i) {
        hang(tree.nodes[n.node[i]].child1, i);
        hang(tree.nodes[n.node[i]].child2, i + SECOND);
    }
    hang(tree.root, TOP);
    place[TOP] = TOP - 1;  // where nobody looks
}

template <class V>
void FlatTree<V>::store(Tree& tree) const {
    const Numbers& n = numbers();
    for (int id = 0; id < MAX_NODES; ++id) {
        const int number = n.of_node[id];
        if (number == NO_NODE) continue;
        TreeNode& node = tree.nodes[id];
        const Corners& b = box[number];
        const int parent = place[number] & TOP;
        node.box = aabb_of(b);
        node.parent = parent == TOP ? NO_NODE : n.node[parent];
        if (number >= LEAVES) continue;
        node.child1 = n.node[child[number]];
        node.child2 = n.node[child[number + SECOND]];
    }
    tree.root = n.node[child[TOP]];
}

// Tree::remove. One box shrinks; those above held its old self and hold the new.
template <class V>
unsigned FlatTree<V>::unlink(unsigned leaf) {
    const unsigned at = place[leaf], parent = at & TOP, up = place[parent], above = up & TOP;
    const int64_t sibling = child[at ^ SECOND];
    child[up] = sibling;
    place[sibling] = static_cast<uint8_t>(up);
    centre_x[up] = centre_x[at ^ SECOND];
    centre_y[up] = centre_y[at ^ SECOND];
    box[above] = box[child[above]];
    include(box[above], box[child[above + SECOND]]);
    put_centre(place[above], box[above]);
    return parent;
}

// Tree::insert's choice at every inner node, whether the leaf comes by or not.
template <class V>
void FlatTree<V>::choose(const Corners& fat) {
    const V x = splat<V>(fat[0] - fat[2]), y = splat<V>(fat[1] - fat[3]);
    const auto distance = [&](int places) {
        V to_x, to_y;
        __builtin_memcpy(&to_x, centre_x + places, sizeof(V));
        __builtin_memcpy(&to_y, centre_y + places, sizeof(V));
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
    const unsigned at = place[sibling];
    child[at] = parent;
    child[parent] = sibling;
    child[parent + SECOND] = leaf;
    place[parent] = static_cast<uint8_t>(at);
    place[sibling] = static_cast<uint8_t>(parent);
    place[leaf] = static_cast<uint8_t>(parent + SECOND);
    box[leaf] = box[parent] = fat;
    include(box[parent], box[sibling]);
    put_centre(parent, box[sibling]);
    put_centre(parent + SECOND, fat);
    put_centre(at, box[parent]);
    return at;
}

// The ancestors of what hangs in this place, up to the first that already holds it.
template <class V>
void FlatTree<V>::grow(unsigned at) {
    Corners b = box[child[at]];
    for (unsigned node = at & TOP; node != TOP && !holds(box[node], b); node = at & TOP) {
        include(b, box[child[at ^ SECOND]]);
        box[node] = b;
        at = place[node];
        put_centre(at, b);
    }
}

// Makes the moves of `count` games in their trees; `moves` from the longest to the shortest.
template <class V>
void reinsert_interleaved(Tree* const* trees, Moves* const* moves, int count) {
    constexpr int W = WIDTH<V>, LEAVES = FlatTree<V>::LEAVES;
    FlatTree<V> flat[W];
    for (int i = 0; i < W; ++i) flat[i].load(*trees[i < count ? i : 0]);  // so that all may descend
    for (int k = 0, still = count;; ++k) {
        while (still > 0 && moves[still - 1]->count == k) --still;
        if (still == 0) break;
        unsigned leaf[W], parent[W], at[W];
        for (int i = 0; i < still; ++i) {
            leaf[i] = LEAVES + moves[i]->body[k];
            parent[i] = flat[i].unlink(leaf[i]);
        }
        for (int i = 0; i < still; ++i) flat[i].choose(moves[i]->box[k]);
        int64_t sibling[W];
        for (int i = 0; i < W; ++i) sibling[i] = i < still ? flat[i].child[FlatTree<V>::TOP] : LEAVES;
        for (int64_t inner = 0; inner < LEAVES;) {  // until all stand at leaves, where they stay
            for (int step = 0; step < 4; ++step)
                for (int i = 0; i < W; ++i) sibling[i] = flat[i].nearer[sibling[i]];
            inner = LEAVES;
            for (int i = 0; i < W; ++i) inner = sibling[i] < inner ? sibling[i] : inner;
        }
        for (int i = 0; i < still; ++i)
            at[i] = flat[i].link(leaf[i], moves[i]->box[k], parent[i], static_cast<unsigned>(sibling[i]));
        for (int i = 0; i < still; ++i) flat[i].grow(at[i]);
    }
    for (int i = 0; i < count; ++i) flat[i].store(*trees[i]);
}

}  // namespace lanes
}  // namespace qwop
