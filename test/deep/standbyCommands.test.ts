/** What the command line says where nothing can be written: on a hot standby. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import * as Cli from "../support/cli.js"
import { makeApp } from "../support/server.js"

Cli.setup()

/** Each begins to write in another way: a statement, a function, a transaction that has to write. */
const writing: ReadonlyArray<ReadonlyArray<string>> = [
  ["export", "--format", "csv"],
  ["export", "queue", "--format", "csv"],
  ["export", "expire", "--directory", "."],
  ["export", "schedule", "remove", "weekly"],
  ["consumers", "forget", "siem"],
  ["retention", "maintain"],
  ["evidence", "record", "trigger_coverage", "--ref", "r", "--derive"],
  ["views", "save", "v", "--owner", "user:1", "--table", "posts"],
  ["continuity", "baseline", "--table", "posts"],
  ["capture", "remove", "--table", "posts"],
  ["migrate", "up"],
  ["grant", "--reader", "pg_monitor"]
]

describe("a standby", () => {
  it.scopedLive("has the migrations of its primary, and is named by every command that has to write", () =>
    Effect.gen(function* () {
      const cluster = yield* TestCluster.make()
      yield* makeApp(cluster, ["create table posts (id int primary key)", "insert into posts values (1)"], ["posts"])
      const standby = yield* Standby.make(cluster)
      yield* standby.caughtUp
      const url = standby.urlOf("app")
      const status = ["migrate", "status", "--json"]
      expect(yield* Cli.text(status, { url })).toBe(yield* Cli.text(status, { url: cluster.urlOf("app") }))
      yield* Cli.checkEach(writing, (args) =>
        Effect.map(Cli.run(args, { url }), (outcome) =>
          expect([args, outcome]).toEqual([args, Cli.refusal(3, /replica/)])
        )
      )
    })
  )
})
