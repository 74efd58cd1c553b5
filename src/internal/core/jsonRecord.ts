/**
 * Schemas of records whose fields may have any name. `Schema.Record` assigns to its fields, and so it loses a field named
 * `__proto__`.
 */
import type { LazyArbitrary } from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

const arbitraryOf =
  <A>(value: LazyArbitrary<A>): LazyArbitrary<{ readonly [field: string]: A }> =>
  (fc) =>
    fc.dictionary(fc.string({ maxLength: 8 }), value(fc), { maxKeys: 3, noNullPrototype: true })

type Parse<A, R> = (input: unknown, options: SchemaAST.ParseOptions) => Effect.Effect<A, ParseResult.ParseIssue, R>

const everyField =
  <A, R>(parse: Parse<A, R>) =>
  (
    input: unknown,
    options: SchemaAST.ParseOptions,
    ast: SchemaAST.AST
  ): Effect.Effect<{ readonly [field: string]: A }, ParseResult.ParseIssue, R> =>
    Predicate.isReadonlyRecord(input) && !Array.isArray(input)
      ? Effect.map(
          Effect.forEach(Object.entries(input), ([field, value]) =>
            ParseResult.mapBoth(parse(value, options), {
              onFailure: (issue) => new ParseResult.Composite(ast, input, new ParseResult.Pointer(field, value, issue)),
              onSuccess: (parsed) => [field, parsed] as const
            })
          ),
          (entries) => Object.fromEntries(entries)
        )
      : ParseResult.fail(new ParseResult.Type(ast, input, "must be an object"))

/** A record whose values a schema decodes and encodes. */
export const record = <A, I, R>(
  value: Schema.Schema<A, I, R>
): Schema.Schema<{ readonly [field: string]: A }, { readonly [field: string]: I }, R> =>
  Schema.declare(
    [value],
    {
      decode: (value) => everyField(ParseResult.decodeUnknown(value)),
      encode: (value) => everyField(ParseResult.encodeUnknown(value))
    },
    {
      arbitrary: arbitraryOf,
      [SchemaAST.SurrogateAnnotationId]: Schema.Record({ key: Schema.String, value }).ast
    }
  )

const isRecordOfTexts = (input: unknown): input is { readonly [field: string]: string } =>
  Predicate.isReadonlyRecord(input) &&
  !Array.isArray(input) &&
  Object.values(input).every((value) => typeof value === "string")

/** A record of strings. */
export const recordOfTexts: Schema.Schema<{ readonly [field: string]: string }> = Schema.declare(isRecordOfTexts, {
  arbitrary: () => arbitraryOf((fc) => fc.string({ maxLength: 8 })),
  jsonSchema: { type: "object", additionalProperties: { type: "string" } }
})
