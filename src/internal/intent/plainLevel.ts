/**
 * Audited calls of clients that are not Effect, while they run: which are inside which, and in which transaction.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import { closed } from "./errors.js"

/** One transaction of a client, whatever objects the client shows it as. */
export class Transaction {
  /** The level of what opened it. */
  base: Level | undefined
}

/** One nesting level of audited calls in a transaction: calls directly inside it take turns, and inherit from it. */
export class Level {
  private last: Promise<unknown> = Promise.resolve()
  private open = true
  /** The document of an audited call; undefined in a transaction that the host opened itself. */
  readonly context: string | undefined
  readonly allowMissingActor: boolean
  readonly enclosing: Level | undefined
  /** What an audited call gave its body; undefined if that may be used again after the end. */
  readonly lent: object | undefined
  constructor(
    readonly transaction: Transaction,
    call: Partial<Pick<Level, "context" | "allowMissingActor" | "enclosing" | "lent">> = {}
  ) {
    this.context = call.context
    this.allowMissingActor = call.allowMissingActor ?? false
    this.enclosing = call.enclosing
    this.lent = call.lent
  }
  get isOpen(): boolean {
    return this.open
  }
  takeTurn<A>(task: () => Promise<A>): Promise<A> {
    const turn = this.last.then(() => {
      if (!this.open) {
        throw closed()
      }
      return task()
    })
    this.last = turn.catch(() => undefined)
    return turn
  }
  /**
   * Waits for the calls inside, also those that the body did not await. Otherwise what ends the level would run in the part of one
   * of them, as its actor.
   */
  async settle(): Promise<void> {
    let seen: unknown
    while (seen !== this.last) {
      seen = this.last
      await seen
    }
    this.open = false
  }
  /** Refuses the calls inside that have not begun, and waits for the one that has: its client goes to others after that. */
  async abandon(): Promise<void> {
    this.open = false
    await this.last
  }
}

/** The level of the code that runs, the innermost first. */
export const levels = new AsyncLocalStorage<Level>()

/** The transaction of each object that a client shows one as. */
export const transactions = new WeakMap<object, Transaction>()

const find = (matches: (level: Level) => boolean): Level | undefined => {
  let level = levels.getStore()
  while (level !== undefined && !matches(level)) {
    level = level.enclosing
  }
  return level
}

const enclosingOf = (transaction: Transaction): Level | undefined =>
  find((level) => level.isOpen && level.transaction === transaction)

/**
 * Throws `Closed` if the code that runs was started by an audited call that has ended, and uses what that call gave it. By now
 * this may be in a transaction of someone else's.
 */
export const mustBeOpen = (shown: object): void => {
  const giver = find(({ lent }) => lent === shown)
  if (giver !== undefined && !giver.isOpen && giver.transaction !== transactions.get(shown)) {
    throw closed()
  }
}

/** The innermost open level of a transaction, as the code that runs sees it. */
export const levelOf = (shown: object): Level => {
  mustBeOpen(shown)
  const transaction = transactions.get(shown) ?? new Transaction()
  transactions.set(shown, transaction)
  return enclosingOf(transaction) ?? (transaction.base ??= new Level(transaction))
}

/** Whether the code that runs is inside an audited call of this transaction. */
export const isInside = (shown: object): boolean => {
  const transaction = transactions.get(shown)
  return transaction !== undefined && enclosingOf(transaction) !== undefined
}
