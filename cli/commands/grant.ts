import * as Effect from "effect/Effect"
import * as Grants from "../../src/internal/grants.js"
import { StorageSchema } from "../../src/internal/storage.js"
import { client, configuration, withSchema } from "../database.js"
import { leaf } from "../leaf.js"
import { common, flag, values } from "../options.js"
import { answer, print, printJson } from "../output.js"

export const grant = leaf(
  "grant",
  {
    ...common,
    writer: values("writer", "ROLE", "Role that sets context and records actions."),
    reader: values("reader", "ROLE", "Role that reads what is recorded."),
    operator: values("operator", "ROLE", "Role that works with what is recorded."),
    print: flag("print", "Print the SQL and change nothing.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const within = withSchema(options, configured)
      const grants = { writers: options.writer, readers: options.reader, operators: options.operator }
      const sql = yield* within(Grants.render(grants))
      if (options.print) {
        return yield* options.json ? printJson({ ...grants, applied: false, sql }) : print(sql)
      }
      yield* Grants.apply(grants).pipe(Effect.provide(client(options)), within)
      const schema = yield* within(StorageSchema)
      yield* answer(
        options.json,
        () => ({ ...grants, applied: true, sql }),
        () =>
          [
            ...grants.writers.map((role) => `${role} may set context and record actions in ${schema}.`),
            ...grants.readers.map((role) => `${role} may read ${schema}.`),
            ...grants.operators.map((role) => `${role} may operate ${schema}.`)
          ].join("\n")
      )
    })
)
