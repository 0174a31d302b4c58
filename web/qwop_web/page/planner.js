// Looking ahead, as qwop_evaluation/lookahead.py does: from the game's state, the policy proposes some continuations, the
// engine plays each of them to a horizon, and the one that got farthest is followed for a few frames.

import constants from "./constants.js";
import { argmax } from "./policy.js";

const { finishWorth, secondWorth, ...SETTINGS } = constants.lookahead;

export class Planner {
  /** @param {import("./engine.js").Engine} engine with `candidates` free games @param {import("./policy.js").Policy} policy
   *  @param {string} trig @param {Partial<typeof SETTINGS>} [settings] */
  constructor(engine, policy, trig, settings) {
    this.policy = policy;
    this.settings = { ...SETTINGS, ...settings };
    const { segment, horizon, candidates } = this.settings, skip = policy.frameSkip;
    this.decisions = Math.ceil(segment / skip); // followed of each plan
    this.horizon = Math.max(this.decisions, Math.ceil(horizon / skip));
    this.games = Array.from({ length: candidates }, () => engine.game(trig));
  }

  /** Frames of one plan. */
  get frames() { return this.decisions * this.policy.frameSkip; }

  /** The keys of the best continuation's first frames. Continuation 0 takes the most likely actions, the others draw theirs.
   *  @param {import("./engine.js").Game} game stays as it is
   *  @param {ArrayLike<number>} [draws] from the exponential distribution, [actions][candidates - 1][decisions]
   *  @returns {Uint8Array} */
  plan(game, draws = this.#draws()) {
    const { policy, games, decisions } = this, { masks, frameSkip } = policy, others = games.length - 1;
    const tried = games.map(() => new Uint8Array(decisions));
    for (const each of games) each.become(game);
    for (let decision = 0; decision < this.horizon; decision++)
      for (const [k, each] of games.entries()) {
        if (each.flags & constants.gameEnded) continue;
        const scores = policy.logits(each.features());
        // The Gumbel-max trick: argmax(logit - ln E), E ~ Exp(1), draws from the distribution.
        if (decision < decisions && k)
          for (let action = 0; action < scores.length; action++)
            scores[action] -= Math.log(draws[(action * others + k - 1) * decisions + decision]);
        const action = argmax(scores);
        if (decision < decisions) tried[k][decision] = action;
        for (let frame = 0; frame < frameSkip && !(each.flags & constants.gameEnded); frame++) each.step(masks[action]);
      }
    const best = argmax(games.map((each) => this.#worth(each)));
    return Uint8Array.from({ length: this.frames }, (_, frame) => masks[tried[best][Math.floor(frame / frameSkip)]]);
  }

  /** m: the distance and the critic's judgment; any finish is better than none. @param {import("./engine.js").Game} game */
  #worth(game) {
    const { flags } = game;
    if (flags & constants.jumpLanded && !(flags & constants.fallen)) return finishWorth - secondWorth * game.time;
    if (flags & constants.gameEnded) return -Infinity;
    const { value_weight: weight } = this.settings;
    return game.distance + (weight ? weight * this.policy.value(game.features()) : 0);
  }

  #draws() {
    const size = this.policy.masks.length * (this.games.length - 1) * this.decisions;
    return Float64Array.from({ length: size }, () => -Math.log(1 - Math.random()));
  }
}
