#include "session.hpp"

namespace qwop {

bool valid_operations(const OperationRow* rows, int count) {
    uint64_t frames = 0;
    for (int i = 0; i < count; ++i) {
        if (rows[i].operation >= static_cast<uint32_t>(Operation::COUNT) || rows[i].keys > 15) return false;
        frames += rows[i].count;
    }
    return frames <= MAX_SESSION_FRAMES;
}

// After a reset: clears what no later frame reads, so that equal states have equal bytes.
static void forget(Game& game) {
    World& world = game.world;
    game.score = 0;
    for (Contact& contact : world.contacts)
        if (!contact.exists) contact = Contact{};
    for (int i = world.contact_count; i < CONTACT_SLOTS; ++i) world.contact_order[i] = 0;
    for (size_t i = world.move_count; i < sizeof world.moved; ++i) world.moved[i] = 0;
    for (NodeId id = world.tree.free_list; id != NO_NODE; id = world.tree.nodes[id].parent) {
        const NodeId next = world.tree.nodes[id].parent;
        world.tree.nodes[id] = TreeNode{{{0, 0}, {0, 0}}, next, NO_NODE, NO_NODE, 0};
    }
}

void operate(Game& game, Trig trig, const OperationRow* rows, int count) {
    for (int i = 0; i < count; ++i) {
        for (uint32_t n = 0; n < rows[i].count; ++n) {
            switch (static_cast<Operation>(rows[i].operation)) {
                case Operation::open: game = Game::page(trig); break;
                case Operation::reset:
                    game.reset();
                    forget(game);
                    break;
                case Operation::play: game.update(static_cast<uint8_t>(rows[i].keys)); break;
                case Operation::wait: game.wait(); break;
                case Operation::COUNT: break;
            }
        }
    }
}

}  // namespace qwop
