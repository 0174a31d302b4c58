// One game's physics: bodies, joints, contacts and the step. Plain data: copying a World is a snapshot.
#pragma once
#include "contact.hpp"
#include "joint.hpp"

namespace qwop {

// Called for each contact that starts to touch, in the middle of a step.
struct ContactListener {
    virtual void begin_contact(const Contact& contact, const WorldManifold& manifold) = 0;
};

struct Island;

struct World {
    Trig trig = Trig::rounded;  // of all its sines and cosines
    Body bodies[BODY_COUNT];
    Joint joints[JOINT_COUNT];
    Contact contacts[CONTACT_SLOTS];
    uint8_t contact_order[CONTACT_SLOTS];  // slots of existing contacts, oldest first; physics goes newest first
    uint8_t contact_count = 0;
    uint8_t move_count = 0;                // bodies whose leaf moved since the last search for new pairs
    uint8_t moved[32];
    bool new_fixture = false;              // a body was created since the last step
    double inv_dt0 = 0;                    // 1 / the last step's dt: 0 before the first
    Tree tree;

    void set_trig(Trig variant);
    void create_body(int id);
    void create_joint(int id);
    void destroy_body(int id);
    void set_pose(int id, Vec2 position, double angle);
    void step(ContactListener& listener);
    void finish_step();  // its part after the update of the contacts

    // Steps the hurdle alone, for the lane engines. fat_boxes: the boxes of the leaves of its top and base, which are
    // newer than those in the tree. Returns bit 0 (top) and bit 1 (base) for leaves that moved. The caller then has to
    // move them in the tree and to call find_pairs.
    unsigned step_hurdle(Aabb* fat_boxes);
    // Its first and its last part.
    void update_hurdle_contacts(const Aabb* fat_boxes);
    unsigned move_hurdle(Aabb* fat_boxes);
    // The runner's island, with the hurdle if one of `parts` touches it. contacts: those of these parts and the hurdle.
    Island runners_island(unsigned parts);
    void find_pairs(int id);
    int touching_count() const;
    void update_contact(Contact& contact);  // for a contact that the rules ignore
    void destroy_contact(int order_index);
    void add_pair(int body1, int body2);  // body1 has the smaller node; does nothing for a known or filtered pair

  private:
    void find_new_contacts();
    void update_contacts(ContactListener& listener);
    void update_contact(Contact& contact, ContactListener& listener);
    void solve_islands(int first_seed, int last_seed);
    struct Taken;
    void grow_island(Island& island, int seed, const uint8_t* touching, int touching_contacts, Taken& taken);
    void move_leaf(int id, const Transform& from, const Transform& to);
};

}  // namespace qwop
