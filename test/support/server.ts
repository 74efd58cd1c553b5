/** What tests with a server of their own share. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import { clientOf } from "../harness/client.js"
import type * as TestCluster from "../harness/TestCluster.js"
import { sessionOf } from "./adversarial.js"

/** A session in a database of a server. */
export const sessionIn = ({ rawClient }: Pick<TestCluster.TestCluster, "rawClient">, database = "app") =>
  Effect.map(rawClient(database), sessionOf)

/** Capture in the database of a URL, and a client there. */
export const captureIn = (url: string) => Layer.provideMerge(Capture.layer, clientOf(url))

/** Makes the database `app` of a server by these statements, and captures tables there; a session in it. */
export const makeApp = Effect.fnUntraced(function* (
  cluster: TestCluster.TestCluster,
  statements: ReadonlyArray<string>,
  tables: ReadonlyArray<string>,
  options: Migrations.RunOptions = {}
) {
  const admin = yield* sessionIn(cluster, "postgres")
  yield* admin.run("create database app")
  const db = yield* sessionIn(cluster)
  yield* db.run(...statements)
  yield* Effect.provide(
    Effect.zipRight(Migrations.run(options), Capture.apply(tables.map((table) => ({ table })))),
    captureIn(cluster.urlOf("app"))
  )
  return db
})
