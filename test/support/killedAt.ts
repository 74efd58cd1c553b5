/**
 * Kills a command at a chosen point of its work. The point is a statement, stopped by a lock that the test holds: the process is killed
 * when its session waits there, and at no other moment.
 */
import * as Effect from "effect/Effect"
import type * as Cli from "./cli.js"
import * as CliProcess from "./cliProcess.js"
import { until } from "./until.js"

/** Where a session is stopped. */
export type Point = {
  readonly at: string
  /**
   * Whether the server ends the session too. Otherwise it completes its statement, and then finds that its client is
   * gone.
   */
  readonly ends: boolean
} & (
  | {
      /** Before the `nth` statement of this kind in its process. */
      readonly table: string
      readonly before: "delete" | "truncate" | "update"
      readonly nth?: number
    }
  | {
      /** Before or after the `nth` command of this kind in its process. */
      readonly command: "ALTER TABLE" | "CREATE TABLE" | "DROP TABLE"
      readonly when: "start" | "end"
      readonly nth?: number
    }
  | {
      /** When it waits for a lock that conflicts with this one. */
      readonly lock: string
    }
)

const lock = 20_261_129

const gate = `
  create schema gate;
  create sequence gate.passed;
  create table gate.point (nth int not null);
  create function gate.stop() returns void language plpgsql security definer set search_path = pg_catalog as $$
  begin
    if nextval('gate.passed') = (select nth from gate.point) then
      -- However short the session wants to wait for locks: on a busy machine nobody would see it here.
      perform set_config('lock_timeout', '0', true);
      perform pg_advisory_xact_lock_shared(${lock});
    end if;
  end $$;
  create function gate.on_statement() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
  begin
    perform gate.stop();
    return null;
  end $$;
  create function gate.on_command() returns event_trigger language plpgsql security definer set search_path = pg_catalog as $$
  begin
    perform gate.stop();
  end $$`

/** Sessions of a role that are stopped. */
const waiting = (role: string, point: Point) =>
  `select from pg_stat_activity
   where usename = '${role}' and wait_event_type = 'Lock' ${"lock" in point ? "" : "and wait_event = 'advisory'"}`

/** A database with a gate, and the command that is killed at it. It connects as a role of its own. */
export const make = (host: Cli.MadeHost) =>
  Effect.gen(function* () {
    const { database, query } = host
    const holder = yield* database.rawClient()
    const hold = (text: string) => Effect.promise((): Promise<unknown> => holder.query(text))
    const role = yield* database.role("killed", "superuser")
    yield* query(gate)
    const sessions = query(`select pid from pg_stat_activity where usename = '${role.name}'`)

    const close = (point: Point) => {
      if ("lock" in point) {
        return hold(`begin; ${point.lock}`)
      }
      const made =
        "table" in point
          ? `create trigger gate before ${point.before} on ${point.table} for each statement execute function gate.on_statement()`
          : `create event trigger gate on ddl_command_${point.when} when tag in ('${point.command}') execute function gate.on_command()`
      return Effect.zipRight(
        query(
          `${made}; truncate gate.point; insert into gate.point values (${point.nth ?? 1}); alter sequence gate.passed restart`
        ),
        hold(`begin; select pg_advisory_xact_lock(${lock})`)
      )
    }

    const remove = (point: Point) =>
      "lock" in point
        ? Effect.void
        : query("table" in point ? `drop trigger gate on ${point.table}` : "drop event trigger gate")

    /**
     * Runs the command until it is at the point, and kills it there. When this ends, the process has no session left.
     */
    const killedAt = (point: Point, args: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        yield* close(point)
        const child = yield* CliProcess.start(args, { DATABASE_URL: role.url })
        const ended = yield* Effect.fork(CliProcess.ended(child))
        const stopped = Effect.map(query(waiting(role.name, point)), (rows) => rows.length > 0)
        const over = Effect.flatMap(ended, (outcome) =>
          Effect.dieMessage(`it ended before it was ${point.at}: ${JSON.stringify(outcome)}`)
        )
        yield* Effect.raceFirst(until(`it is ${point.at}`, stopped), over)
        child.kill("SIGKILL")
        yield* ended
        if (point.ends) {
          yield* query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role.name}'`)
          yield* until(
            "its sessions have ended",
            Effect.map(sessions, (rows) => rows.length === 0)
          )
        }
        yield* hold("rollback")
        yield* until(
          "its sessions have ended",
          Effect.map(sessions, (rows) => rows.length === 0)
        )
        yield* remove(point)
      }).pipe(Effect.scoped)
    return { killedAt }
  })
