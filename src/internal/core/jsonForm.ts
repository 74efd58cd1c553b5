/**
 * Values whose JSON is not just their fields: what they inherit tells `stringify`, and through `toJSON` also `JSON.stringify`.
 */
import type { ParseIssue } from "effect/ParseResult"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { jsonForm, printable } from "./json.js"

/** Makes values of a kind. `form` is what their JSON shows; their own fields, which a spread copies, are those of the value. */
export const formed = <A extends object>(form: (value: A) => unknown): (<B extends A>(fields: B) => B) => {
  const prototype = Object.create(Object.prototype, {
    [jsonForm]: {
      value(this: A): unknown {
        return form(this)
      }
    },
    toJSON: {
      value(this: A): unknown {
        return printable(form(this))
      }
    }
  }) as object
  return <B extends A>(fields: B): B => Object.assign(Object.create(prototype) as B, fields)
}
