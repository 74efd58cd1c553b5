/** The host's tables, and what is captured of them. */
import type { Capture } from "threadline"

export const createTables = `
  create table if not exists users (
    id int generated always as identity primary key,
    name text not null unique,
    tenant text not null,
    salt text not null,
    password text not null
  );
  create table if not exists sessions (
    token text primary key,
    user_id int not null references users,
    expires_at timestamptz not null
  );
  create table if not exists invoices (
    id int generated always as identity primary key,
    tenant text not null,
    customer text not null,
    state text not null default 'draft',
    total numeric(12, 2) not null
  );
  create table if not exists receipts (
    invoice int primary key references invoices,
    tenant text not null,
    sent_to text not null
  );
  create table if not exists jobs (
    id uuid primary key default gen_random_uuid(),
    invoice int not null references invoices,
    envelope text not null,
    run_at timestamptz not null default now()
  )`

export const captured: ReadonlyArray<Capture.TableConfig> = [
  { table: "users", exclude: ["salt", "password"] },
  { table: "invoices" },
  { table: "receipts", mask: ["sent_to"] }
]
