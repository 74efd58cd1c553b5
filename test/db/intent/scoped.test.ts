import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Host from "../../support/auditedHost.js"
import { auditError, PostError, reasonOf } from "../../support/errors.js"

const alice = Actor.user("alice")
const options = { action: "import.run", actor: alice } as const

layer(Host.layer, { excludeTestServices: true })("Audit.scoped", (it) => {
  it.effect("keeps what ran in it, once it is committed", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Effect.scoped(
        Effect.gen(function* () {
          const audit = yield* Audit.scoped(options)
          yield* audit.run(Host.insertPost(1))
          const inside = yield* audit.run(AuditContext.current)
          expect(inside.actor).toEqual(alice)
          yield* audit.run(Audit.transaction(Host.insertPost(2), { action: "inner", actor: Actor.user("bob") }))
          expect(yield* Host.postIds).toEqual([])
          const committed = yield* audit.commit
          expect(yield* Host.postIds).toEqual([1, 2])
          return committed
        })
      )
      expect(Option.isSome(audited.transactionId)).toBe(true)
      expect((yield* Host.changes).map(({ actor }) => actor)).toEqual(["user:alice", "user:bob"])
      expect((yield* Host.actions).map(({ name }) => name)).toEqual(["inner", "import.run"])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("rolls back where its scope closes before", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const without = Effect.gen(function* () {
        const audit = yield* Audit.scoped(options)
        yield* audit.run(Host.insertPost(1))
      })
      yield* Effect.scoped(without)
      yield* Effect.exit(Effect.scoped(Effect.zipRight(without, Effect.fail("refused"))))
      yield* Effect.exit(Effect.scoped(Effect.zipRight(without, Effect.die("defect"))))
      yield* Effect.exit(Effect.scoped(Effect.zipRight(without, Effect.interrupt)))
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.actions).toEqual([])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("is closed after its end", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const scope = yield* Scope.make()
      const committed = yield* Scope.extend(Audit.scoped(options), scope)
      const abandoned = yield* Scope.extend(Audit.scoped(options), scope)
      yield* committed.run(Host.insertPost(1))
      yield* committed.commit
      yield* Scope.close(scope, Exit.void)
      for (const audit of [committed, abandoned]) {
        expect(yield* reasonOf(audit.run(Effect.die("not run")))).toBe("Closed")
        expect(yield* reasonOf(audit.commit)).toBe("Closed")
      }
      expect(yield* Host.postIds).toEqual([1])
      expect((yield* Host.actions).length).toBe(1)
    })
  )

  it.effect("tells of a COMMIT that is refused, and of an error that was swallowed", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const refused = Effect.gen(function* () {
        const audit = yield* Audit.scoped(options)
        yield* audit.run(sql`insert into books (id, author) values (1, 7)`)
        return yield* auditError(audit.commit)
      })
      expect(yield* Effect.scoped(refused)).toMatchObject({ reason: "CommitFailed", sqlState: "23503" })
      const swallowed = Effect.gen(function* () {
        const audit = yield* Audit.scoped(options)
        yield* audit.run(Host.insertPost(1))
        const failed = yield* Effect.either(audit.run(Host.insertPost(1)))
        expect(Either.isLeft(failed)).toBe(true)
        return yield* auditError(audit.commit)
      })
      expect(yield* Effect.scoped(swallowed)).toMatchObject({ reason: "TransactionAborted", sqlState: "23505" })
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("is a savepoint inside a transaction, and takes its turn there", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Effect.scoped(Effect.flatMap(Audit.scoped(), (audit) => audit.run(Host.insertPost(1))))
          yield* Effect.scoped(
            Effect.gen(function* () {
              const audit = yield* Audit.scoped({ action: "inner", actor: Actor.user("bob") })
              yield* audit.run(Host.insertPost(2))
              yield* audit.commit
            })
          )
          yield* Host.insertPost(3)
          const scoped = yield* reasonOf(Effect.scoped(Audit.scoped({ isolation: "serializable" })))
          expect(scoped).toBe("NotOutermost")
        }),
        options
      )
      expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
        ["2", "user:bob"],
        ["3", "user:alice"]
      ])
    })
  )

  it.effect("passes the failures of the host, and records them where asked to", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const failed = yield* Effect.flip(
        Effect.scoped(
          Effect.flatMap(Audit.scoped({ ...options, onFailure: "record" }), (audit) =>
            audit.run(Effect.zipRight(Host.insertPost(1), Effect.fail(new PostError("refused"))))
          )
        )
      )
      expect(failed).toBeInstanceOf(PostError)
      yield* Effect.scoped(Effect.asVoid(Audit.scoped({ ...options, onFailure: "record" })))
      yield* Effect.exit(
        Effect.scoped(Effect.zipRight(Audit.scoped({ ...options, onFailure: "record" }), Effect.interrupt))
      )
      expect((yield* Host.actions).map(({ name, status }) => [name, status])).toEqual([
        ["import.run", "error"],
        ["import.run", "error"]
      ])
    })
  )

  it.effect("needs an actor, and refuses what a transaction refuses", () =>
    Effect.gen(function* () {
      expect(yield* reasonOf(Effect.scoped(Audit.scoped({ action: "a" })))).toBe("MissingActor")
      expect(
        yield* Effect.flip(Effect.scoped(Audit.scoped({ action: "a", captureOnly: true, actor: alice })))
      ).toMatchObject({ _tag: "threadline/InvalidRequest", field: "captureOnly" })
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("Audit.record", (it) => {
  it.effect("takes one statement outside of a transaction", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const id = yield* Audit.record(
        { name: "report.read", subject: { type: "report", id: "7" } },
        { actor: alice, requestId: "r-1", reason: "asked for" }
      )
      yield* Audit.record("login.refused", { actor: Actor.anonymous, status: "error" })
      expect(yield* Host.actions).toMatchObject([
        {
          id,
          name: "report.read",
          status: "ok",
          actor_id: "alice",
          request_id: "r-1",
          reason: "asked for",
          subject_type: "report",
          subject_id: "7",
          transaction_id: null
        },
        { name: "login.refused", status: "error", actor_type: "anonymous", actor_id: null }
      ])
    })
  )

  it.effect("belongs to the transaction that it is in, before and after its changes", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Audit.record("before")
          yield* Host.insertPost(1)
          yield* Audit.record("after")
          yield* Audit.record("another's", { actor: Actor.user("bob") })
        }),
        { actor: alice, correlationId: "corr" }
      )
      const link = { transaction_id: Option.getOrNull(audited.transactionId), correlation_id: "corr" }
      expect(yield* Host.actions).toMatchObject([
        { name: "before", actor_id: "alice", ...link },
        { name: "after", actor_id: "alice", ...link },
        { name: "another's", actor_id: "bob", ...link }
      ])
      yield* Effect.either(
        Audit.transaction(Effect.zipRight(Audit.record("undone"), Effect.fail("x")), { actor: alice })
      )
      expect((yield* Host.actions).length).toBe(3)
    })
  )

  it.effect("belongs to the host's own transaction", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* Effect.either(sql.withTransaction(Effect.zipRight(Audit.record("a", { actor: alice }), Effect.fail("x"))))
      expect(yield* Host.actions).toEqual([])
      yield* sql.withTransaction(Audit.record("a", { actor: alice }))
      expect(yield* Host.actions).toMatchObject([{ name: "a", actor_id: "alice" }])
    })
  )

  it.effect("needs an actor, a name, and a transaction that has not been aborted", () =>
    Effect.gen(function* () {
      yield* Host.reset
      expect(yield* reasonOf(Audit.record("a"))).toBe("MissingActor")
      yield* Audit.record("a", { allowMissingActor: true })
      expect(yield* Effect.flip(Audit.record("", { actor: alice }))).toMatchObject({ field: "action.name" })
      const aborted = Effect.gen(function* () {
        yield* Host.insertPost(1)
        yield* Effect.either(Host.insertPost(1))
        yield* Audit.record("too late")
      })
      expect(yield* auditError(Audit.transaction(aborted, { actor: alice }))).toMatchObject({
        reason: "TransactionAborted",
        sqlState: "23505"
      })
    })
  )
})
