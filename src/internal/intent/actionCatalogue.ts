/**
 * The typed catalogue of actions. The types of `Arguments` need the casts: the spec of an action decides what its function takes.
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import { encodeData, type Entry, EntryTypeId, type Subject } from "./action.js"

/**
 * What one occurrence of an action of a catalogue can be given beside its data.
 *
 * @since 0.1.0
 * @category models
 */
export interface Remarks {
  /** Why. */
  readonly reason?: string | undefined
  /** A remark. */
  readonly comment?: string | undefined
  /** What the action is about. */
  readonly subject?: Subject | undefined
}

/**
 * What a catalogue says of an action.
 *
 * @since 0.1.0
 * @category models
 */
export interface Spec {
  /** What the action's data must be. Its encoded form is what is recorded, so it has to be JSON. */
  readonly data?: Schema.Schema.AnyNoContext | undefined
  /** What is done: `pay`. */
  readonly verb?: string | undefined
  /** What it belongs to: `billing`. */
  readonly category?: string | undefined
}

/**
 * An action of a catalogue: a function from its data to an entry that `Audit.transaction` and `record` take.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition<Name extends string, Arguments extends ReadonlyArray<unknown>> {
  (...args: Arguments): Entry<Name>
  /** The name that is recorded. */
  readonly action: Name
  /** What the catalogue says of it. */
  readonly spec: Spec
}

/**
 * What a definition takes: its data if it has a schema, then remarks.
 *
 * @since 0.1.0
 * @category models
 */
export type Arguments<S extends Spec> = S extends { readonly data: infer D extends Schema.Schema.AnyNoContext }
  ? [data: Schema.Schema.Type<D>, remarks?: Remarks]
  : [remarks?: Remarks]

export const action = <const Name extends string, const S extends Spec>(
  name: Name,
  spec?: S
): Definition<Name, Arguments<S>> => {
  const schema = spec?.data as Schema.Schema<unknown, unknown> | undefined
  const build = (...args: ReadonlyArray<unknown>): Entry<Name> => {
    const remarks = (schema === undefined ? args[0] : args[1]) as Remarks | undefined
    return {
      name,
      verb: spec?.verb,
      category: spec?.category,
      reason: remarks?.reason,
      comment: remarks?.comment,
      subject: remarks?.subject,
      [EntryTypeId]: schema === undefined ? Effect.succeed(undefined) : encodeData(schema, args[0])
    }
  }
  return Object.assign(build, { action: name, spec: spec ?? {} })
}

export const catalogue = <const Specs extends { readonly [name: string]: Spec }>(
  specs: Specs
): { readonly [Name in keyof Specs & string]: Definition<Name, Arguments<Specs[Name]>> } =>
  Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, action(name, spec)])) as unknown as {
    readonly [Name in keyof Specs & string]: Definition<Name, Arguments<Specs[Name]>>
  }
