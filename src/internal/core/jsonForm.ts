/**
 * Values whose JSON is not just their fields. They inherit a method that gives their JSON form. `stringify` uses it, and through
 * `toJSON` also `JSON.stringify`.
 */
import type { LazyArbitrary } from "effect/Arbitrary"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { jsonForm } from "./json.js"
import { printable } from "./jsonValue.js"

/** Makes values of one kind. Their JSON is the JSON of what `form` returns. */
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

/** The same kind of value with some of its fields replaced, or others added. */
export const withFields = <A extends object, B extends object>(value: A, fields: B): Omit<A, keyof B> & B =>
  Object.assign(Object.create(Object.getPrototypeOf(value) as object) as Omit<A, keyof B> & B, value, fields)

/** A schema for values that `make` makes. A schema of a struct would make plain objects. */
export const formedSchema = <A extends object, I, R>(
  schema: Schema.Schema<A, I, R>,
  make: (fields: A) => A
): Schema.Schema<A, I, R> => {
  const type = Schema.typeSchema(schema)
  const arbitrary: LazyArbitrary<A> = (fc) => Arbitrary.makeLazy(type)(fc).map(make)
  const formed = Schema.declare(Schema.is(type), { arbitrary: () => arbitrary })
  return Schema.transform(schema, formed, { strict: true, decode: make, encode: (value) => value })
}
