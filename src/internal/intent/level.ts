/**
 * The connection that the body of an audited transaction writes through. It counts the running statements, so that the
 * transaction ends after its last statement. After that it refuses every statement: a fiber that outlives the transaction must
 * never write into the next use of the connection.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { closed } from "./errors.js"
import { endsWithin } from "../sql/leaving.js"
import { isConnectionLost, sqlState } from "../sql/sqlState.js"

const statementAfterEnd = (): SqlError => {
  const cause = closed()
  return new SqlError({ cause, message: cause.message })
}

const pullAfterEnd = Effect.suspend(() => Effect.fail(Option.some(statementAfterEnd())))

/** What the statements of one database transaction have shown, for better errors at its end. */
export interface Observed {
  /** The error that said that the connection is gone. */
  lost: SqlError | undefined
  /** The error of the last statement, unless one has succeeded since. */
  failed: SqlError | undefined
}

/** An action whose transaction was rolled back, to be recorded as failed. */
export interface FailedAction {
  readonly action: string
  readonly context: string
}

/** An audited call that waits for its turn. */
interface Waiting {
  isNext: boolean
  resume: (() => void) | undefined
}

/** One nesting level of audited calls on a connection. */
export class Level implements Connection {
  /** Savepoint of the audited call that is open directly inside this level. */
  inner: string | undefined = undefined

  private isOpen = true
  private underWay = 0
  private whenIdle: (() => void) | undefined = undefined
  private streams: Set<Scope.CloseableScope> | undefined = undefined
  private isTaken = false
  private waiting: Set<Waiting> | undefined = undefined

  constructor(
    /** The enclosing level, or the connection itself. */
    private readonly target: Connection,
    readonly observed: Observed,
    /** Undefined for a transaction that the host opened. */
    readonly owner:
      | {
          /** The document of the context that is set while this level runs. */
          readonly context: string
          readonly allowMissingActor: boolean
          /** Failures to record once the outermost audited call has ended. */
          readonly failures: Array<FailedAction>
        }
      | undefined
  ) {}

  /**
   * Takes the turn of the audited calls directly inside this level. Only the wait can be interrupted. With a semaphore of the
   * library, an interruption at the wrong instant would lose the turn; here there is no such instant.
   */
  takeTurn(restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.isTaken) {
        this.isTaken = true
        return Effect.void
      }
      const waiting: Waiting = { isNext: false, resume: undefined }
      this.waiting ??= new Set()
      this.waiting.add(waiting)
      return Effect.onInterrupt(
        restore(
          Effect.async<void>((resume) => {
            if (waiting.isNext) {
              resume(Effect.void)
            }
            waiting.resume = () => resume(Effect.void)
          })
        ),
        () => (waiting.isNext ? this.passTurn : Effect.sync(() => this.waiting?.delete(waiting)))
      )
    })
  }

  /** Ends the turn of the audited call inside this level. */
  readonly passTurn: Effect.Effect<void> = Effect.sync(() => {
    for (const next of this.waiting ?? []) {
      this.waiting?.delete(next)
      next.isNext = true
      next.resume?.()
      return
    }
    this.isTaken = false
  })

  execute(...args: Parameters<Connection["execute"]>): ReturnType<Connection["execute"]> {
    return this.guard(this.target.execute(...args))
  }

  executeRaw(...args: Parameters<Connection["executeRaw"]>): ReturnType<Connection["executeRaw"]> {
    return this.guard(this.target.executeRaw(...args))
  }

  executeValues(...args: Parameters<Connection["executeValues"]>): ReturnType<Connection["executeValues"]> {
    return this.guard(this.target.executeValues(...args))
  }

  executeUnprepared(...args: Parameters<Connection["executeUnprepared"]>): ReturnType<Connection["executeUnprepared"]> {
    return this.guard(this.target.executeUnprepared(...args))
  }

  executeStream(...args: Parameters<Connection["executeStream"]>): ReturnType<Connection["executeStream"]> {
    return Stream.unwrapScoped(
      Effect.uninterruptible(
        Effect.gen(this, function* () {
          if (!this.isOpen) {
            return Stream.fail(statementAfterEnd())
          }
          const scope = yield* Scope.make()
          this.streams ??= new Set()
          this.streams.add(scope)
          yield* Effect.addFinalizer(() => this.closeStream(scope))
          const pull = yield* Scope.extend(Stream.toPull(this.target.executeStream(...args)), scope)
          // The cursor of an ended transaction looks exhausted. So it is checked a second time.
          const next = Effect.exit(Effect.suspend(() => (this.isOpen ? pull : pullAfterEnd))).pipe(
            Effect.flatMap((exit) => {
              if (Exit.isFailure(exit)) {
                this.observe(Option.flatten(Cause.failureOption(exit.cause)))
              }
              return this.isOpen ? exit : pullAfterEnd
            })
          )
          return Stream.repeatEffectChunkOption(next)
        })
      )
    )
  }

  /**
   * Sends a message of Threadline's own for the audited call inside this level. `done` runs before the message counts as over.
   */
  control(message: string, done: () => void): Effect.Effect<unknown, SqlError> {
    return this.guard(
      Effect.map(this.target.executeRaw(message, []), (result) => {
        done()
        return result
      })
    )
  }

  /**
   * Refuses new statements and waits for those that are running. Open streams are closed first, because statements wait for
   * them.
   */
  close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isOpen = false
      const idle = this.underWay === 0 ? Effect.void : this.idle()
      return this.streams === undefined || this.streams.size === 0
        ? idle
        : Effect.zipRight(
            Effect.forEach([...this.streams], (scope) => this.closeStream(scope), { discard: true }),
            Effect.suspend(() => this.idle())
          )
    })
  }

  private idle(): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (this.underWay === 0) {
        resume(Effect.void)
      } else {
        this.whenIdle = () => resume(Effect.void)
      }
    })
  }

  private guard<A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) => {
      if (!this.isOpen) {
        return Effect.fail(statementAfterEnd())
      }
      this.underWay++
      return Effect.onExit(restore(statement), (exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) {
            this.observed.failed = undefined
          } else {
            this.observe(Cause.failureOption(exit.cause))
          }
          this.underWay--
          if (this.underWay === 0) {
            this.whenIdle?.()
          }
        })
      )
    })
  }

  private observe(failure: Option.Option<SqlError>): void {
    if (Option.isNone(failure)) {
      return
    }
    const state = sqlState(failure.value)
    if (isConnectionLost(failure.value)) {
      this.observed.lost = failure.value
    } else if (state !== undefined && state !== "25P02") {
      this.observed.failed = failure.value
    }
  }

  // Closing the cursor of a dead connection never ends, so the wait has a limit.
  private closeStream(scope: Scope.CloseableScope): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.streams?.delete(scope)
      const closing = Scope.close(scope, Exit.void)
      return this.observed.lost === undefined
        ? Effect.asVoid(endsWithin(closing, "2 seconds"))
        : Effect.asVoid(Effect.forkDaemon(closing))
    })
  }
}

const hosts = new WeakMap<Connection, Level>()

/** The level that stands for a transaction which the host opened itself. */
export const hostLevel = (connection: Connection): Level => {
  const existing = hosts.get(connection)
  if (existing !== undefined) {
    return existing
  }
  const created = new Level(connection, { lost: undefined, failed: undefined }, undefined)
  hosts.set(connection, created)
  return created
}
