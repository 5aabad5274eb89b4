/** Whether a token is computed with the help of other threads, or by one alone: whichever takes less time here and now. */

const KEPT = 3; // times of each
const FIRST = 12; // tokens that are computed the one way and the other in turn
const AGAIN = 16; // of so many that follow, one

/**
 * Of a small model the threads wait for each other as long as they compute, and where somebody else needs the cores one
 * waits for the other's: so both ways are timed, again and again.
 */
export class Helping {
  /** Milliseconds of the last tokens, alone and helped. */
  private readonly times: readonly [number[], number[]] = [[], []];
  private tokens = 0;

  /** A token, which `run` computes. */
  token(run: (helped: boolean) => void): void {
    const helped = this.isNext();
    const times = this.times[Number(helped) as 0 | 1];
    const started = performance.now();
    run(helped);
    times.push(performance.now() - started);
    if (times.length > KEPT) times.shift();
    this.tokens++;
  }

  private isNext(): boolean {
    if (this.tokens < FIRST) return this.tokens % 2 === 0;
    const [alone, helped] = this.times.map((times) => times.reduce((sum, time) => sum + time, 0)) as [number, number];
    return helped < alone !== (this.tokens % AGAIN === 0);
  }
}
