import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Semantics from "../../../src/Semantics.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"
import { auditError, PostError, reasonOf } from "../../support/errors.js"
import * as Probe from "../../support/probe.js"
import { runs } from "../../support/runs.js"

const alice = Actor.user("alice")
const options = { action: "post.created", actor: alice } as const

const backendPid = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql<{ readonly pid: number }>`select pg_backend_pid() as pid`, (rows) => rows[0]?.pid ?? 0)
)

/** Ends a session, and returns once its process is gone. */
const terminate = (pid: number) =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.TestDatabase
    const session = yield* database.rawClient()
    yield* database.terminate(pid)
    yield* Effect.promise(() => session.query("select from pg_stat_activity where pid = $1", [pid])).pipe(
      Effect.repeat({ until: ({ rowCount }) => rowCount === 0 })
    )
  }).pipe(Effect.scoped)

const nothingHappened = Effect.gen(function* () {
  expect(yield* Host.postIds).toEqual([])
  expect(yield* Host.changes).toEqual([])
  expect(yield* Host.actions).toEqual([])
  expect(yield* Host.poolIsClean(5)).toBe(true)
})

layer(Host.layer, { excludeTestServices: true })("the end of Audit.transaction", (it) => {
  it.effect("is no success where the body swallowed an SQL error", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const error = yield* auditError(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.either(Host.insertPost(1))), options)
      )
      expect(error).toMatchObject({ reason: "TransactionAborted", sqlState: "23505" })
      expect(error.message).toContain("posts_pkey")
      expect(error.cause).toBeInstanceOf(SqlError)
      yield* nothingHappened
    })
  )

  it.effect("is no success where the body swallowed the error of a statement that timed out", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const slow = sql`select pg_sleep(10)`.pipe(Effect.timeout("50 millis"), Effect.either)
      expect(yield* reasonOf(Audit.transaction(Effect.zipRight(Host.insertPost(1), slow), options))).toBe(
        "TransactionAborted"
      )
      yield* nothingHappened
    })
  )

  it.effect("is a typed failure where a deferred constraint refuses COMMIT", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const error = yield* auditError(Audit.transaction(sql`insert into books (id, author) values (1, 7)`, options))
      expect(error).toMatchObject({ reason: "CommitFailed", sqlState: "23503" })
      expect(error.message).toContain("books_author_fkey")
      expect(error.message).not.toContain("7")
      yield* nothingHappened
    })
  )

  for (const state of ["TL001", "42501", "25P02"]) {
    it.effect(`tells a COMMIT that fails with ${state} from a "finish" that does`, () =>
      Effect.gen(function* () {
        yield* Host.reset
        const sql = yield* SqlClient.SqlClient
        const error = yield* auditError(
          Audit.transaction(
            Effect.zipRight(Host.insertPost(1), sql`insert into fuses (id, what) values (1, ${state})`),
            {
              ...options,
              requireChanges: true
            }
          )
        )
        expect(error).toMatchObject({ reason: "CommitFailed", sqlState: state })
        yield* nothingHappened
      })
    )
  }

  it.effect("is unknown where the connection is lost during COMMIT, and never retried", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      let attempts = 0
      const body = Effect.zipRight(
        Effect.sync(() => attempts++),
        sql`insert into fuses (id, what) values (1, 'terminate')`
      )
      const error = yield* auditError(
        Audit.transaction(body, { ...options, retry: Schedule.recurs(3), onFailure: "record" })
      )
      expect(error).toMatchObject({ reason: "OutcomeUnknown", sqlState: "57P01" })
      expect(attempts).toBe(1)
      yield* nothingHappened
    })
  )

  it.effect("is a lost connection where that was lost before", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const lose = Effect.flatMap(backendPid, terminate)
      const found = Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          yield* lose
          yield* Host.insertPost(2)
        }),
        options
      )
      const error = yield* auditError(found)
      expect(error.reason).toBe("ConnectionLost")
      expect(error.cause).toBeInstanceOf(SqlError)
      const swallowed = Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          yield* lose
          yield* Effect.either(Host.insertPost(2))
        }),
        options
      )
      expect(yield* reasonOf(swallowed)).toBe("ConnectionLost")
      const hosts = new PostError("the host's own")
      const mapped = Effect.gen(function* () {
        yield* lose
        yield* Effect.mapError(Host.insertPost(2), () => hosts)
      })
      expect(yield* Effect.flip(Audit.transaction(mapped, options))).toBeInstanceOf(PostError)
      yield* nothingHappened
    })
  )

  it.effect("is no success where the connection was lost and the body did not notice", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const unnoticed = Effect.zipRight(Host.insertPost(1), Effect.flatMap(backendPid, terminate))
      const reason = yield* reasonOf(Audit.transaction(unnoticed, options))
      expect(["ConnectionLost", "OutcomeUnknown"]).toContain(reason)
      yield* nothingHappened
    })
  )

  it.effect("is a lost connection for nested and joined calls", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const inner = Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          yield* Effect.flatMap(backendPid, terminate)
          yield* Effect.either(Host.insertPost(2))
        }),
        options
      )
      expect(yield* reasonOf(Audit.transaction(Effect.either(inner), options))).toBe("ConnectionLost")
      expect(yield* reasonOf(Audit.transaction(inner, options))).toBe("ConnectionLost")
      // A savepoint of the host's dies where it cannot be undone; on a lost connection that is no defect.
      expect(yield* reasonOf(Audit.transaction(sql.withTransaction(inner), options))).toBe("ConnectionLost")
      // The host's own transaction dies where ROLLBACK fails; what the audited call says of it is typed.
      const reasons: Array<string> = []
      yield* Effect.exit(
        sql.withTransaction(Effect.tapError(inner, (error) => Effect.sync(() => reasons.push(error._tag))))
      )
      expect(reasons).toEqual(["AuditError"])
      yield* nothingHappened
    })
  )

  it.effect("is no success where the body ended the transaction itself", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const ended = Audit.transaction(Effect.zipRight(Host.insertPost(1), sql`rollback`.unprepared), options)
      expect(yield* reasonOf(ended)).toBe("EndedByBody")
      const replaced = Audit.transaction(sql`rollback; begin`.unprepared, options)
      expect(yield* reasonOf(replaced)).toBe("EndedByBody")
      yield* nothingHappened
    })
  )

  it.effect("is no success where the body reset the context: what followed would have no actor", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const body = Effect.all([Host.insertPost(1), sql`reset all`, Host.insertPost(2)], { discard: true })
      for (const call of [options, { actor: options.actor }, { ...options, requireChanges: true }]) {
        expect(yield* reasonOf(Audit.transaction(body, call))).toBe("EndedByBody")
        expect(yield* reasonOf(sql.withTransaction(Audit.transaction(body, call)))).toBe("EndedByBody")
        expect(yield* reasonOf(Audit.transaction(Audit.transaction(body), call))).toBe("EndedByBody")
      }
      yield* nothingHappened

      const inner = Audit.transaction(body, { action: "inner" })
      yield* Audit.transaction(Effect.zipRight(Effect.either(inner), Host.insertPost(3)), options)
      // A savepoint that is rolled back gives the context back.
      const undone = sql.withTransaction(Effect.zipRight(sql`reset all`, Effect.fail("undone")))
      yield* Audit.transaction(Effect.zipRight(Effect.either(undone), Host.insertPost(4)), options)
      expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
        ["3", "user:alice"],
        ["4", "user:alice"]
      ])
    })
  )

  it.effect("hides no failure of the host behind a failing record of it", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const owner = yield* Host.Owner
      const role = yield* (yield* TestDatabase.TestDatabase).role("app")
      const grantee = owner.literal(role.name)
      yield* owner`revoke execute on function threadline.record_action(jsonb, jsonb) from ${grantee}`
      const logged: Array<unknown> = []
      const error = yield* Effect.flip(
        Audit.transaction(Effect.fail(new PostError("refused")), { ...options, onFailure: "record" })
      ).pipe(
        Effect.provide(
          Logger.replace(
            Logger.defaultLogger,
            Logger.make(({ message }) => {
              logged.push(message)
            })
          )
        )
      )
      yield* owner`grant execute on function threadline.record_action(jsonb, jsonb) to ${grantee}`
      expect(error).toBeInstanceOf(PostError)
      expect(JSON.stringify(logged)).toContain("could not be recorded")
      yield* nothingHappened
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("a failure inside an interrupted call", (it) => {
  it.effect("is recorded all the same", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const inner = Audit.transaction(Effect.fail("refused"), { action: "inner", actor: alice, onFailure: "record" })
      const exit = yield* Effect.exit(
        Audit.transaction(Effect.zipRight(Effect.either(inner), Effect.interrupt), options)
      )
      expect(Exit.isInterrupted(exit)).toBe(true)
      const waiting = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Audit.transaction(
          Effect.zipRight(Effect.either(inner), Effect.zipRight(Deferred.succeed(waiting, undefined), Effect.never)),
          options
        )
      )
      yield* Deferred.await(waiting)
      yield* Fiber.interrupt(fiber)
      expect((yield* Host.actions).map(({ name, status }) => [name, status])).toEqual([
        ["inner", "error"],
        ["inner", "error"]
      ])
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("a fiber that outlives its audited transaction", (it) => {
  it.effect("is refused every statement", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const gate = yield* Deferred.make<void>()
      const statements: ReadonlyArray<Effect.Effect<unknown, SqlError>> = [
        sql`insert into posts (id, title) values (2, 'late')`,
        sql`insert into posts (id, title) values (2, 'late')`.unprepared,
        sql`insert into posts (id, title) values (2, 'late')`.raw,
        sql`insert into posts (id, title) values (2, 'late')`.values,
        sql`insert into posts (id, title) values (2, 'late')`.withoutTransform,
        Stream.runDrain(sql`insert into posts (id, title) values (2, 'late') returning id`.stream),
        Effect.catchAllDefect(sql.withTransaction(Effect.void), (defect) =>
          defect instanceof SqlError ? Effect.fail(defect) : Effect.die(defect)
        )
      ]
      const audited = yield* Audit.transaction(
        Effect.zipRight(
          Host.insertPost(1),
          Effect.forkDaemon(
            Effect.zipRight(
              Deferred.await(gate),
              Effect.forEach(statements, (statement) => Effect.flip(statement))
            )
          )
        ),
        options
      )
      // A stranger's transaction uses the connections meanwhile.
      yield* Effect.forEach(
        [1, 2, 3, 4, 5],
        (n) =>
          Audit.transaction(
            Effect.zipRight(
              n === 1 ? Deferred.succeed(gate, undefined) : Effect.void,
              Effect.asVoid(Fiber.await(audited.value))
            ),
            { actor: Actor.user("stranger") }
          ),
        { concurrency: "unbounded" }
      )
      const errors = yield* Fiber.join(audited.value)
      expect(errors.map((error) => [error._tag, error.message])).toEqual(
        statements.map(() => ["SqlError", "the audited transaction has ended"])
      )
      expect(yield* Host.postIds).toEqual([1])
    })
  )

  it.effect("writes under the actor of its own part or not at all", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const late = yield* Audit.transaction(
            Effect.forkDaemon(Effect.zipRight(Deferred.await(gate), Effect.flip(Host.insertPost(1)))),
            { actor: Actor.user("bob") }
          )
          yield* Deferred.succeed(gate, undefined)
          expect((yield* Fiber.join(late.value)).message).toBe("the audited transaction has ended")
        }),
        options
      )
      expect(yield* Host.postIds).toEqual([])
    })
  )

  it.effect("keeps the end of the transaction waiting for its statement under way", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const started = yield* Deferred.make<void>()
      yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Effect.forkDaemon(
            Effect.zipRight(
              Deferred.succeed(started, undefined),
              sql`insert into posts (id, title) select 1, 'slow' from pg_sleep(0.2)`
            )
          )
          yield* Deferred.await(started)
          yield* Effect.yieldNow()
        }),
        options
      )
      expect(yield* Host.changes).toMatchObject([{ row: "1", actor: "user:alice" }])
    })
  )

  it.effect("finds its audited call undone, and is told so", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const gate = yield* Deferred.make<void>()
      const started = yield* Deferred.make<void>()
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          const late = yield* Effect.forkDaemon(
            Audit.transaction(
              Effect.gen(function* () {
                yield* Host.insertPost(1)
                yield* Deferred.succeed(started, undefined)
                yield* Deferred.await(gate)
              }),
              { action: "late", actor: Actor.user("bob") }
            )
          )
          const waiting = yield* Effect.forkDaemon(
            Effect.zipRight(Deferred.await(started), Audit.transaction(Host.insertPost(2), { action: "waiting" }))
          )
          yield* Deferred.await(started)
          return [Effect.asVoid(Fiber.join(late)), Effect.asVoid(Fiber.join(waiting))]
        }),
        options
      )
      yield* Deferred.succeed(gate, undefined)
      const reasons = yield* Effect.forEach(audited.value, reasonOf)
      expect(reasons).toEqual(["Closed", "Closed"])
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.actions).toMatchObject([{ name: "post.created", actor_id: "alice" }])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("a stream inside Audit.transaction", (it) => {
  it.effect("reads in the transaction", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          yield* sql`insert into posts (id, title) select n, 'many' from generate_series(1, 1000) n`
          const postCount = yield* Stream.runCount(sql`select * from posts`.stream)
          const some = yield* Stream.runCount(Stream.take(sql`select * from posts`.stream, 5))
          yield* Host.insertPost(1001)
          return [postCount, some]
        }),
        options
      )
      expect(audited.value).toEqual([1000, 5])
      expect((yield* Host.postIds).length).toBe(1001)
    })
  )

  it.effect("that outlives it holds up nothing, and ends with an error rather than early", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const gate = yield* Deferred.make<void>()
      const read = yield* Deferred.make<void>()
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          const late = yield* sql`select generate_series(1, 1000)`.stream.pipe(
            Stream.mapChunksEffect((chunk) =>
              Effect.as(Effect.zipRight(Deferred.succeed(read, undefined), Deferred.await(gate)), chunk)
            ),
            Stream.runCount,
            Effect.flip,
            Effect.forkDaemon
          )
          yield* Deferred.await(read)
          return late
        }),
        options
      )
      yield* Deferred.succeed(gate, undefined)
      expect((yield* Fiber.join(audited.value)).message).toBe("the audited transaction has ended")
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("that is open when the transaction is interrupted keeps nothing from being rolled back", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const read = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Audit.transaction(
          Effect.gen(function* () {
            yield* Host.insertPost(1)
            yield* sql`select generate_series(1, 1000)`.stream.pipe(
              Stream.mapChunksEffect(() => Effect.zipRight(Deferred.succeed(read, undefined), Effect.never)),
              Stream.runDrain,
              Effect.forkDaemon
            )
            yield* Effect.never
          }),
          options
        )
      )
      yield* Deferred.await(read)
      yield* Fiber.interrupt(fiber)
      yield* nothingHappened
    })
  )

  it.effect("whose backend is killed ends with a lost connection", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const body = Effect.gen(function* () {
        const pid = yield* backendPid
        yield* sql`select generate_series(1, 1000)`.stream.pipe(
          Stream.mapChunksEffect((chunk) => Effect.as(terminate(pid), chunk)),
          Stream.runDrain
        )
      })
      expect(yield* reasonOf(Audit.transaction(body, options))).toBe("ConnectionLost")
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )
})

layer(Host.layerWith({ maxConnections: 1 }), { excludeTestServices: true })("a pool of one connection", (it) => {
  it.effect("is enough for everything inside a transaction and after it", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const body = Effect.gen(function* () {
        yield* Host.insertPost(1)
        yield* Audit.record("inside")
        yield* Audit.transaction(Host.insertPost(2), { action: "inner", actor: Actor.user("bob") })
        yield* Effect.either(Audit.transaction(Effect.fail("refused"), { action: "inner failed", onFailure: "record" }))
      })
      yield* Audit.transaction(body, options)
      yield* Effect.either(Audit.transaction(Effect.fail("refused"), { ...options, onFailure: "record" }))
      yield* Audit.record("outside", { actor: alice })
      expect((yield* Host.actions).map(({ name, status }) => [name, status])).toEqual([
        ["inside", "ok"],
        ["inner", "ok"],
        ["post.created", "ok"],
        ["inner failed", "error"],
        ["post.created", "error"],
        ["outside", "ok"]
      ])
      expect(yield* Host.postIds).toEqual([1, 2])
    })
  )

  it.effect("loses no connection to a call that is interrupted while it waits for one", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const holds = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(
        Audit.transaction(Effect.zipRight(Deferred.succeed(holds, undefined), Deferred.await(go)), options)
      )
      yield* Deferred.await(holds)
      const waiting = yield* Effect.forEach([1, 2, 3], (n) =>
        Effect.fork(Audit.transaction(Host.insertPost(n), options))
      )
      yield* Effect.yieldNow()
      const exits = yield* Effect.forEach(waiting, (fiber) => Fiber.interrupt(fiber))
      expect(exits.map((exit) => Exit.isInterrupted(exit))).toEqual([true, true, true])
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(holder)
      yield* Audit.transaction(Host.insertPost(4), options)
      expect(yield* Host.postIds).toEqual([4])
      expect(yield* Host.poolIsClean(1)).toBe(true)
    })
  )
})

const probe: Probe.Probe = { around: Probe.idle }
// Fresh, or the layers of the host below would serve here, too: without the probe.
const probedLayer = Layer.fresh(Layer.mergeAll(Audit.layer, Semantics.layer)).pipe(
  Layer.provideMerge(Probe.clientWith(probe)),
  Layer.provideMerge(Host.layerWith({ maxConnections: 3 }))
)

const shapes = ["succeeds", "fails", "dies", "nested", "nested fails, caught", "joined"] as const

/** Interrupts a call when its nth message is about to be sent, is under way, or has just been answered. */
interface Moment {
  readonly shape: (typeof shapes)[number]
  readonly message: number
  readonly phase: Probe.Phase
}

const bodyOf = (shape: Moment["shape"]) =>
  Effect.gen(function* () {
    yield* Host.insertPost(1)
    if (shape === "nested") {
      yield* Audit.transaction(Host.insertPost(2), { action: "inner", actor: Actor.user("bob") })
    } else if (shape === "nested fails, caught") {
      yield* Effect.either(
        Audit.transaction(Effect.zipRight(Host.insertPost(99), Effect.fail("refused")), { action: "inner" })
      )
      yield* Host.insertPost(2)
    } else {
      yield* Host.insertPost(2)
    }
    yield* Host.insertPost(3)
    if (shape === "fails") {
      yield* Effect.fail("refused")
    }
    if (shape === "dies") {
      yield* Effect.die("defect")
    }
  })

const callOf = (shape: Moment["shape"]) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const call = Audit.transaction(bodyOf(shape), options)
    yield* shape === "joined" ? sql.withTransaction(call) : call
  })

const allOrNothing = (shape: Moment["shape"], exit: Exit.Exit<unknown, unknown>) =>
  Effect.gen(function* () {
    const rows = yield* Host.postIds
    const changes = yield* Host.changes
    const actions = yield* Host.actions
    const names = actions.map(({ name }) => name)
    if (Exit.isSuccess(exit)) {
      expect(rows).toEqual([1, 2, 3])
    }
    if (rows.length > 0) {
      expect(["fails", "dies"]).not.toContain(shape)
      expect(rows).toEqual([1, 2, 3])
      expect(names).toEqual(shape === "nested" ? ["inner", "post.created"] : ["post.created"])
      expect(changes.map(({ row }) => row)).toEqual(["1", "2", "3"])
      expect(changes.map(({ actor }) => actor)).toEqual([
        "user:alice",
        shape === "nested" ? "user:bob" : "user:alice",
        "user:alice"
      ])
    } else {
      expect(changes).toEqual([])
      expect(names).toEqual([])
    }
    expect(yield* Host.poolIsClean(3)).toBe(true)
  })

const interruptAt = (moment: Moment) =>
  Effect.gen(function* () {
    yield* Host.reset
    const { exit, sent } = yield* Probe.interruptedAt(probe, moment.message, moment.phase, callOf(moment.shape))
    yield* allOrNothing(moment.shape, exit)
    return { sent, exit }
  })

const interruptAfter = (shape: Moment["shape"], turns: number) =>
  Effect.gen(function* () {
    yield* Host.reset
    probe.around = Probe.idle
    const fiber = yield* Effect.fork(callOf(shape))
    yield* Effect.repeatN(Probe.turn, turns)
    const exit = yield* Fiber.interrupt(fiber)
    yield* allOrNothing(shape, exit)
  })

layer(probedLayer, { excludeTestServices: true })("interrupting Audit.transaction", (it) => {
  it.effect("adds no round trip but the one that begins it: three messages for one statement", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const messages: Array<string> = []
      probe.around = (message, send) => {
        messages.push(message)
        return send
      }
      yield* Audit.transaction(Host.insertPost(1), options)
      expect(messages.length).toBe(3)
      expect(messages[0]).toMatch(/^begin; select "threadline"\.set_context\(/)
      expect(messages[2]).toMatch(/finish.*; commit$/)
      messages.length = 0
      const unnamed = yield* Audit.transaction(Host.insertPost(3), { actor: alice })
      const empty = yield* Audit.transaction(Effect.void, { actor: alice })
      expect(messages.length).toBe(3 + 2)
      // It is named for a context that the body ended, and called for nothing else.
      expect(messages.join("\n")).not.toMatch(/then "threadline"\.finish/)
      expect(messages.join("\n")).toMatch(/else "threadline"\.finish/)
      const last = (yield* Host.transactions).at(-1)
      expect(Option.getOrUndefined(unnamed.transactionId)).toBe(String(last?.["id"]))
      expect([unnamed.actionId, empty.transactionId, empty.actionId]).toEqual([
        Option.none(),
        Option.none(),
        Option.none()
      ])
      messages.length = 0
      yield* Audit.transaction(Audit.transaction(Host.insertPost(2), { action: "inner" }), options)
      expect(messages.length).toBe(5)
      expect(messages.join("\n")).not.toMatch(/set constraints|set session|\bprepare\b|advisory|listen/i)
      probe.around = Probe.idle
    })
  )

  it.effect("sends ROLLBACK again where a late cancellation has hit it", () =>
    Effect.gen(function* () {
      yield* Host.reset
      let sent = 0
      probe.around = (message, send) =>
        message === "rollback" && ++sent < 3
          ? new SqlError({ cause: { code: "57014", severity: "ERROR" }, message: "cancelled" })
          : send
      const failed = yield* Effect.flip(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail("x")), options)
      )
      probe.around = Probe.idle
      expect([failed, sent]).toEqual(["x", 3])
      expect(yield* Host.poolIsClean(3)).toBe(true)
    })
  )

  it.effect("throws a connection away that does not roll back", () =>
    Effect.gen(function* () {
      yield* Host.reset
      probe.around = (message, send) =>
        message === "rollback" ? new SqlError({ cause: { code: "XX000", severity: "ERROR" }, message: "no" }) : send
      const failed = yield* Effect.flip(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail("x")), options)
      )
      probe.around = Probe.idle
      expect(failed).toBe("x")
      expect(yield* Effect.repeat(Host.poolIsClean(3), { until: (clean) => clean, times: 50 })).toBe(true)
      expect(yield* Host.postIds).toEqual([])
    })
  )

  it.effect("is no success where COMMIT answers ROLLBACK", () =>
    Effect.gen(function* () {
      yield* Host.reset
      probe.around = (message, send) =>
        message.endsWith("; commit")
          ? Effect.map(send, (results) => {
              for (const result of Array.isArray(results) ? results : []) {
                result.command = result.command === "COMMIT" ? "ROLLBACK" : result.command
              }
              return results
            })
          : send
      const reason = yield* reasonOf(Audit.transaction(Host.insertPost(1), options))
      probe.around = Probe.idle
      expect(reason).toBe("TransactionAborted")
      expect(yield* Host.poolIsClean(3)).toBe(true)
    })
  )

  for (const shape of shapes) {
    it.effect(
      `at every message is all or nothing: ${shape}`,
      () =>
        Effect.gen(function* () {
          const { exit, sent } = yield* interruptAt({ shape, message: 0, phase: "before" })
          expect(Exit.isInterrupted(exit)).toBe(false)
          expect(sent).toBeGreaterThan(shape === "joined" ? 3 : 4)
          for (let message = 1; message <= sent; message++) {
            for (const phase of Probe.phases) {
              yield* interruptAt({ shape, message, phase })
            }
          }
        }),
      300_000
    )
  }

  it.effect(
    "at any moment is all or nothing",
    () =>
      Effect.gen(function* () {
        const runtime = yield* Effect.runtime<Effect.Effect.Context<ReturnType<typeof interruptAfter>>>()
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.constantFrom(...shapes), fc.nat({ max: 60 }), (shape, turns) =>
              Effect.runPromise(Effect.provide(interruptAfter(shape, turns), runtime))
            ),
            { numRuns: runs(100) }
          )
        )
      }),
    300_000
  )

  it.effect("commits what COMMIT was sent for, and is interrupted only then", () =>
    Effect.gen(function* () {
      const { exit, sent } = yield* interruptAt({ shape: "succeeds", message: 5, phase: "before" })
      expect(sent).toBe(5)
      expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
      expect(yield* Host.postIds).toEqual([1, 2, 3])
    })
  )
})
