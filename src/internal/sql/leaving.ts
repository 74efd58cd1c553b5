/**
 * How a fiber leaves a statement that it no longer waits for. An interruption asks another connection of the pool to cancel the
 * statement. If the pool has no other connection, the driver waits for seconds.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type { DurationInput } from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/** How long a fiber that was interrupted waits for its statement to be cancelled. */
const patience: DurationInput = "500 millis"

/**
 * Waits for an effect, but not longer than the duration. The answer is false if the effect has not ended by then; the effect
 * continues. The waiting fiber cannot be interrupted, and may have been interrupted already.
 */
export const endsWithin = (effect: Effect.Effect<unknown>, duration: DurationInput): Effect.Effect<boolean> =>
  Effect.forkDaemon(effect).pipe(
    Effect.flatMap((fiber) =>
      Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(Fiber.await(fiber), duration)))
    ),
    Effect.flatMap(Fiber.join),
    Effect.map(Option.isSome)
  )

/** The fiber that waits has the error. Effect's own log of it would repeat what the server says, and that repeats values of rows. */
const forkSilently = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
  Effect.withUnhandledErrorLogLevel(Effect.forkDaemon(effect), Option.none())

/**
 * A statement. If its fiber is interrupted, the fiber does not wait long for the statement to end. `onLeft` runs if it has not
 * ended by then.
 */
export const leavable = <A, E, R>(
  statement: Effect.Effect<A, E, R>,
  onLeft: () => void = () => undefined
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(forkSilently(restore(statement)), (fiber) =>
      Effect.onInterrupt(restore(Fiber.join(fiber)), () =>
        Effect.map(endsWithin(Fiber.interrupt(fiber), patience), (ended) => {
          if (!ended) {
            onLeft()
          }
        })
      )
    )
  )

/** A reserved connection whose statements can be left. After a statement was left, the connection must never be given to anything else. */
export class LeavableConnection implements Connection {
  private left = false

  constructor(private readonly target: Connection) {}

  /** Whether a statement was left that had not ended. */
  get hasLeft(): boolean {
    return this.left
  }

  /** Notes that a statement was left that has not ended. */
  readonly noteLeft = (): void => {
    this.left = true
  }

  /** The driver's client. */
  get pg(): unknown {
    return "pg" in this.target ? this.target.pg : undefined
  }

  execute(...args: Parameters<Connection["execute"]>) {
    return this.leavable(this.target.execute(...args))
  }

  executeRaw(...args: Parameters<Connection["executeRaw"]>) {
    return this.leavable(this.target.executeRaw(...args))
  }

  executeValues(...args: Parameters<Connection["executeValues"]>) {
    return this.leavable(this.target.executeValues(...args))
  }

  executeUnprepared(...args: Parameters<Connection["executeUnprepared"]>) {
    return this.leavable(this.target.executeUnprepared(...args))
  }

  executeStream(...args: Parameters<Connection["executeStream"]>) {
    return this.target.executeStream(...args)
  }

  private leavable<A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return leavable(statement, this.noteLeft)
  }
}
