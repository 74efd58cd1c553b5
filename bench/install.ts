/** Installs Threadline and captures tables: `install.ts <url> <configuration as JSON>`. Run as a program, so that another version's sources can do it. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Capture from "../src/Capture.js"
import * as Migrations from "../src/Migrations.js"

const [url = "", tables = "[]"] = process.argv.slice(2)

const Tables = Schema.parseJson(
  Schema.Array(
    Schema.Struct({
      table: Schema.String,
      mask: Schema.optionalWith(Schema.Array(Schema.String), { exact: true }),
      exclude: Schema.optionalWith(Schema.Array(Schema.String), { exact: true })
    })
  )
)

await Effect.gen(function* () {
  yield* Migrations.run()
  const capture = yield* Capture.Capture
  yield* capture.apply(yield* Schema.decode(Tables)(tables))
}).pipe(
  Effect.provide(Layer.provideMerge(Capture.layer, PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))),
  Effect.runPromise
)
