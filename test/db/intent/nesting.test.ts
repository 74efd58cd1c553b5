import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Host from "../../support/auditedHost.js"
import { PostError, reasonOf } from "../../support/errors.js"
import { runs } from "../../support/runs.js"

const alice = Actor.user("alice")
const bob = Actor.admin("bob")
const carol = Actor.user("carol")

layer(Host.layer, { excludeTestServices: true })("nested Audit.transaction", (it) => {
  it.effect("has an audit transaction, a context and actions of its own", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const outer = yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          const inner = yield* Audit.transaction(Host.insertPost(2), {
            action: "post.imported",
            actor: bob,
            correlationId: "inner"
          })
          yield* Host.insertPost(3)
          return inner
        }),
        { action: "import.run", actor: alice, correlationId: "outer" }
      )
      const inner = outer.value
      const changes = yield* Host.changes
      expect(changes).toMatchObject([
        { row: "1", actor: "user:alice", transaction: Option.getOrNull(outer.transactionId) },
        { row: "2", actor: "admin:bob", transaction: Option.getOrNull(inner.transactionId) },
        { row: "3", actor: "user:alice" }
      ])
      const transactions = yield* Host.transactions
      expect(new Set(transactions.map((transaction) => transaction["xid"])).size).toBe(1)
      expect(yield* Host.actions).toMatchObject([
        {
          id: Option.getOrNull(inner.actionId),
          name: "post.imported",
          transaction_id: Option.getOrNull(inner.transactionId),
          correlation_id: "inner"
        },
        {
          id: Option.getOrNull(outer.actionId),
          name: "import.run",
          transaction_id: Option.getOrNull(outer.transactionId),
          correlation_id: "outer"
        }
      ])
    })
  )

  it.effect("shares the audit transaction of the enclosing call where it says nothing of its own", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const outer = yield* Audit.transaction(
        Effect.gen(function* () {
          const before = yield* Audit.transaction(Effect.void)
          yield* Host.insertPost(1)
          const inner = yield* Audit.transaction(Host.insertPost(2))
          return { before, inner }
        }),
        { action: "a", actor: alice }
      )
      expect(outer.value.before.transactionId).toEqual(Option.none())
      expect(outer.value.inner.transactionId).toEqual(outer.transactionId)
      expect(outer.value.inner.actionId).toEqual(Option.none())
      expect((yield* Host.transactions).length).toBe(1)
    })
  )

  it.effect("undoes its own part only, and the rows that follow have the right transaction", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* Audit.transaction(
        Effect.gen(function* () {
          // The first captured row, and with it the cached id of the audit transaction, is made and undone in a savepoint.
          const refused = yield* Effect.flip(
            Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail(new PostError("refused"))))
          )
          expect(refused).toBeInstanceOf(PostError)
          yield* Effect.flip(sql.withTransaction(Effect.zipRight(Host.insertPost(2), Effect.fail("undo"))))
          yield* Host.insertPost(3)
          yield* Effect.flip(
            Audit.transaction(Effect.zipRight(Host.insertPost(4), Effect.fail("undo")), { action: "b", actor: bob })
          )
          yield* Host.insertPost(5)
        }),
        { action: "a", actor: alice }
      )
      const transactions = yield* Host.transactions
      expect(transactions).toMatchObject([{ actor_id: "alice" }])
      const id = transactions[0]?.["id"]
      expect(yield* Host.changes).toMatchObject([
        { row: "3", actor: "user:alice", transaction: id },
        { row: "5", actor: "user:alice", transaction: id }
      ])
      expect(yield* Host.actions).toMatchObject([{ name: "a", transaction_id: id }])
    })
  )

  it.effect("gives the enclosing call back its transaction after a statement that failed", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          const duplicate = yield* Effect.either(Audit.transaction(Host.insertPost(1), { action: "again" }))
          const swallowed = yield* reasonOf(
            Audit.transaction(Effect.either(Host.insertPost(1)), { action: "swallowed" })
          )
          yield* Host.insertPost(2)
          return [Either.isLeft(duplicate), swallowed]
        }),
        { action: "a", actor: alice }
      )
      expect(audited.value).toEqual([true, "TransactionAborted"])
      expect(yield* Host.postIds).toEqual([1, 2])
      expect(yield* Host.actions).toMatchObject([{ name: "a" }])
    })
  )

  it.effect("requires changes of its own", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          return yield* reasonOf(Audit.transaction(Effect.void, { requireChanges: true }))
        }),
        { action: "a", actor: alice, requireChanges: true }
      )
      expect(audited.value).toBe("NoChanges")
      expect(yield* Host.postIds).toEqual([1])
    })
  )

  it.effect("inherits the actor, and the leave to have none", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(Audit.transaction(Host.insertPost(1), { action: "inner" }), { actor: alice })
      yield* Audit.transaction(Audit.transaction(Host.insertPost(2), { action: "inner" }), { allowMissingActor: true })
      expect(yield* Host.changes).toMatchObject([{ actor: "user:alice" }, { actor: null }])
    })
  )

  it.effect("is refused isolation and retry, joined too", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      for (const options of [{ isolation: "serializable" as const }, { retry: Schedule.recurs(1) }]) {
        const inner = Audit.transaction(Host.insertPost(1), { actor: alice, ...options })
        expect(yield* reasonOf(Audit.transaction(inner, { actor: alice }))).toBe("NotOutermost")
        expect(yield* reasonOf(sql.withTransaction(inner))).toBe("NotOutermost")
      }
      expect(yield* Host.postIds).toEqual([])
    })
  )

  it.effect("keeps its failures for after the end of the outermost call", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const attempt = Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail("refused")), {
        action: "inner",
        actor: bob,
        onFailure: "record"
      })
      yield* Audit.transaction(Effect.zipRight(Effect.either(attempt), Host.insertPost(2)), {
        action: "outer",
        actor: alice
      })
      yield* Effect.either(Audit.transaction(attempt, { action: "outer", actor: alice }))
      expect(yield* Host.actions).toMatchObject([
        { name: "outer", status: "ok", actor_id: "alice" },
        { name: "inner", status: "error", actor_id: "bob", transaction_id: null },
        { name: "inner", status: "error", actor_id: "bob", transaction_id: null }
      ])
      expect(yield* Host.postIds).toEqual([2])
    })
  )

  it.effect("works with the host's own savepoints above and below", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* Audit.transaction(
        Effect.gen(function* () {
          yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* Host.insertPost(1)
              yield* Audit.transaction(sql.withTransaction(Host.insertPost(2)), { action: "inner", actor: bob })
              yield* Host.insertPost(3)
            })
          )
          yield* Effect.either(
            sql.withTransaction(
              Effect.zipRight(Audit.transaction(Host.insertPost(4), { actor: carol }), Effect.fail("undo"))
            )
          )
          yield* Host.insertPost(5)
        }),
        { action: "outer", actor: alice }
      )
      expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
        ["1", "user:alice"],
        ["2", "admin:bob"],
        ["3", "user:alice"],
        ["5", "user:alice"]
      ])
    })
  )

  it.effect("loses nothing of concurrent siblings, at every level", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const people = [alice, bob, carol]
      const sibling = (n: number) =>
        Audit.transaction(
          Effect.zipRight(
            Host.insertPost(n * 10),
            Effect.forEach(
              [1, 2, 3],
              (m) => Audit.transaction(Host.insertPost(n * 10 + m), { action: `inner ${n}.${m}` }),
              { concurrency: "unbounded" }
            )
          ).pipe(Effect.zipRight(n % 5 === 0 ? Effect.fail("refused") : Effect.void)),
          { action: `sibling ${n}`, actor: people[n % 3] }
        )
      yield* Audit.transaction(
        Effect.forEach(
          Array.from({ length: 12 }, (_, n) => n + 1),
          (n) => Effect.either(sibling(n)),
          {
            concurrency: "unbounded"
          }
        ),
        { action: "outer", actor: alice }
      )
      const committedIds = Array.from({ length: 12 }, (_, n) => n + 1).filter((n) => n % 5 !== 0)
      const expected = committedIds.flatMap((n) => [0, 1, 2, 3].map((m) => [String(n * 10 + m), n % 3]))
      const seen = (yield* Host.changes).map(({ actor, row }) => [
        row,
        ["user:alice", "admin:bob", "user:carol"].indexOf(actor ?? "")
      ])
      expect(seen.sort()).toEqual(expected.sort())
      expect((yield* Host.actions).length).toBe(committedIds.length * 4 + 1)
    })
  )

  it.effect("lets a waiting sibling be interrupted", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(
        Effect.gen(function* () {
          const holds = yield* Deferred.make<void>()
          const go = yield* Deferred.make<void>()
          const first = yield* Effect.fork(
            Audit.transaction(
              Effect.zipRight(
                Host.insertPost(1),
                Effect.zipRight(Deferred.succeed(holds, undefined), Deferred.await(go))
              )
            )
          )
          yield* Deferred.await(holds)
          const second = yield* Effect.fork(Audit.transaction(Host.insertPost(2)))
          yield* Effect.yieldNow()
          yield* Fiber.interrupt(second)
          yield* Deferred.succeed(go, undefined)
          yield* Fiber.join(first)
          yield* Audit.transaction(Host.insertPost(3))
        }),
        { actor: alice }
      )
      expect(yield* Host.postIds).toEqual([1, 3])
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("Audit.transaction inside the host's own transaction", (it) => {
  it.effect("joins it, and leaves the host its own context", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const audited = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* Host.insertPost(1)
          const inner = yield* Audit.transaction(Host.insertPost(2), { action: "inner", actor: alice })
          yield* Host.insertPost(3)
          return inner
        })
      )
      expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
        ["1", null],
        ["2", "user:alice"],
        ["3", null]
      ])
      expect(yield* Host.actions).toMatchObject([
        { id: Option.getOrNull(audited.actionId), transaction_id: Option.getOrNull(audited.transactionId) }
      ])
    })
  )

  it.effect("is undone alone where it fails, and with the host where that fails", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const fails = Audit.transaction(Effect.zipRight(Host.insertPost(2), Effect.fail("refused")), {
        action: "inner",
        actor: alice
      })
      yield* sql.withTransaction(
        Effect.zipRight(Host.insertPost(1), Effect.zipRight(Effect.either(fails), Host.insertPost(3)))
      )
      const succeeds = Audit.transaction(Host.insertPost(4), { action: "inner", actor: alice })
      yield* Effect.either(sql.withTransaction(Effect.zipRight(succeeds, Effect.fail("refused"))))
      expect(yield* Host.postIds).toEqual([1, 3])
      expect(yield* Host.actions).toEqual([])
    })
  )

  it.effect("takes turns with its siblings", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.forEach(
          [1, 2, 3, 4, 5],
          (n) => Audit.transaction(Host.insertPost(n), { action: `n${n}`, actor: n % 2 === 0 ? alice : bob }),
          { concurrency: "unbounded" }
        )
      )
      expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
        ["1", "admin:bob"],
        ["2", "user:alice"],
        ["3", "admin:bob"],
        ["4", "user:alice"],
        ["5", "admin:bob"]
      ])
    })
  )

  it.effect("tells of a transaction that was aborted before", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const reason = yield* Effect.flip(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* Host.insertPost(1)
            yield* Effect.either(Host.insertPost(1))
            return yield* Effect.flip(reasonOf(Audit.transaction(Host.insertPost(2), { actor: alice })))
          })
        )
      )
      expect(reason).toBe("TransactionAborted")
    })
  )

  it.effect("records its failure in a transaction of its own", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* Effect.either(
        sql.withTransaction(
          Audit.transaction(Effect.fail("refused"), { action: "inner", actor: alice, onFailure: "record" })
        )
      )
      expect(yield* Host.actions).toMatchObject([{ name: "inner", status: "error", transaction_id: null }])
    })
  )
})

type Tree =
  | { readonly _tag: "write" }
  | { readonly _tag: "host"; readonly children: ReadonlyArray<Tree>; readonly end: End }
  | {
      readonly _tag: "audit"
      readonly actor: number | undefined
      readonly action: boolean
      readonly children: ReadonlyArray<Tree>
      readonly end: End
    }
  | { readonly _tag: "siblings"; readonly children: ReadonlyArray<Tree> }

/** How a call ends; a caught failure does not reach what encloses it. */
type End = "succeeds" | "fails" | "fails, caught" | "swallows, caught"

const actors = [alice, bob, carol]

const tree: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree; audit: Tree }>((tie) => {
  const children = fc.array(tie("tree"), { maxLength: 4 })
  const end = fc.oneof(
    { weight: 6, arbitrary: fc.constant<End>("succeeds") },
    { weight: 1, arbitrary: fc.constant<End>("fails") },
    { weight: 2, arbitrary: fc.constant<End>("fails, caught") },
    { weight: 1, arbitrary: fc.constant<End>("swallows, caught") }
  )
  const audit = fc.record({
    _tag: fc.constant("audit" as const),
    actor: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
    action: fc.boolean(),
    children,
    end
  })
  return {
    audit,
    tree: fc.oneof(
      { maxDepth: 4, depthIdentifier: "tree" },
      fc.constant<Tree>({ _tag: "write" }),
      tie("audit"),
      fc.record({
        _tag: fc.constant("host" as const),
        children,
        end: end.map((chosen): End => (chosen === "swallows, caught" ? "fails, caught" : chosen))
      }),
      fc.record({
        _tag: fc.constant("siblings" as const),
        children: fc.array(
          audit.map((one): Tree => ({ ...one, end: one.end === "fails" ? "fails, caught" : one.end })),
          { maxLength: 3 }
        )
      })
    )
  }
}).audit

interface Kept {
  readonly rows: ReadonlyArray<readonly [row: number, actor: number]>
  readonly actions: ReadonlyArray<readonly [name: number, actor: number]>
  /** Whether a failure goes on to what encloses this. */
  readonly fails: boolean
}

/** What must be there in the end. Writes and actions are numbered in the order of the tree. */
const model = (root: Tree): Kept => {
  let number = 0
  const many = (children: ReadonlyArray<Tree>, actor: number): Kept => {
    const keptParts: { rows: Array<Kept["rows"][number]>; actions: Array<Kept["actions"][number]>; fails: boolean } = {
      rows: [],
      actions: [],
      fails: false
    }
    for (const child of children) {
      const childOutcome = visit(child, actor)
      if (!keptParts.fails) {
        keptParts.rows.push(...childOutcome.rows)
        keptParts.actions.push(...childOutcome.actions)
        keptParts.fails = childOutcome.fails
      }
    }
    return keptParts
  }
  const visit = (node: Tree, actor: number): Kept => {
    const own = ++number
    if (node._tag === "write") {
      return { rows: [[own, actor]], actions: [], fails: false }
    }
    if (node._tag === "siblings") {
      return many(node.children, actor)
    }
    const current = node._tag === "audit" ? (node.actor ?? actor) : actor
    const inside = many(node.children, current)
    if (inside.fails || node.end !== "succeeds") {
      const caught = node.end === "fails, caught" || node.end === "swallows, caught"
      return { rows: [], actions: [], fails: !caught }
    }
    return node._tag === "audit" && node.action ? { ...inside, actions: [...inside.actions, [own, current]] } : inside
  }
  return visit(root, 0)
}

const program = (root: Tree) => {
  let number = 0
  const many = (children: ReadonlyArray<Tree>, concurrent: boolean) => {
    const effects = children.map(visit)
    return Effect.all(effects, { discard: true, ...(concurrent ? { concurrency: "unbounded" as const } : {}) })
  }
  const visit = (node: Tree): Effect.Effect<void, unknown, SqlClient.SqlClient | Audit.Audit> => {
    const own = ++number
    if (node._tag === "write") {
      return Host.insertPost(own)
    }
    const inside = many(node.children, node._tag === "siblings")
    if (node._tag === "siblings") {
      return inside
    }
    const ending =
      node.end === "succeeds"
        ? Effect.void
        : node.end === "swallows, caught"
          ? Effect.ignore(Effect.zipRight(Host.insertPost(-1), Host.insertPost(-1)))
          : Effect.fail("refused")
    const body = Effect.zipRight(inside, ending)
    const call =
      node._tag === "host"
        ? Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(body))
        : Audit.transaction(body, {
            ...(node.actor === undefined ? {} : { actor: actors[node.actor] }),
            ...(node.action ? { action: `action ${own}` } : {})
          })
    return node.end === "fails, caught" || node.end === "swallows, caught" ? Effect.ignore(call) : Effect.asVoid(call)
  }
  return visit(root)
}

layer(Host.layer, { excludeTestServices: true })("trees of nested transactions", (it) => {
  it.effect(
    "leave exactly the rows, actors and actions of a pure model",
    () =>
      Effect.gen(function* () {
        const runtime = yield* Effect.runtime<Effect.Effect.Context<ReturnType<typeof checkTree>>>()
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(tree, (root) => Effect.runPromise(Effect.provide(checkTree(root), runtime))),
            { numRuns: runs(120) }
          )
        )
      }),
    300_000
  )
})

const checkTree = (root: Tree) =>
  Effect.gen(function* () {
    yield* Host.reset
    const expected = model(root)
    yield* Effect.ignore(AuditContext.withActor(program(root), alice))
    const keys = actors.map((actor) => `${actor.type}:${actor.id}`)
    const bySize = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => (a[0] ?? 0) - (b[0] ?? 0)
    const rows = (yield* Host.changes).map(({ actor, row }) => [Number(row), keys.indexOf(actor ?? "")])
    const actions = (yield* Host.actions).map((action) => [
      Number(String(action["name"]).slice("action ".length)),
      keys.indexOf(`${String(action["actor_type"])}:${String(action["actor_id"])}`)
    ])
    expect(rows.sort(bySize)).toEqual([...expected.rows].sort(bySize))
    expect(actions.sort(bySize)).toEqual([...expected.actions].sort(bySize))
    expect(yield* Host.postIds).toEqual(expected.rows.map(([row]) => row).sort((a, b) => a - b))
    // An action is linked to an audit transaction of its own actor.
    const owner = yield* Host.Owner
    expect(
      yield* owner`
        select a.id
        from threadline.audit_actions a
        join threadline.audit_transactions t on t.id = a.transaction_id
        where t.actor_id is distinct from a.actor_id
      `
    ).toEqual([])
  })
