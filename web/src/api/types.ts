// What travels: the shapes of packages/skep/skep/wire.py and of skepd's model, as far as the pages look at them.

export type Role = "viewer" | "operator" | "admin";
export const ROLES: readonly Role[] = ["viewer", "operator", "admin"];

export interface Place {
  detail: string;
  hint?: string;
  file?: string;
  line?: number;
}

export interface ProblemBody extends Place {
  title: string;
  status: number;
  errors?: Place[];
}

export interface Caller {
  name: string;
  role: Role;
  via: string;
}

export interface StepState {
  summary: string;
  state: string;
  done: number;
  total: number;
}

export type OperationState = "queued" | "running" | "confirming" | "done" | "failed" | "cancelled" | "undone";

export interface Operation {
  id: string;
  title: string;
  state: OperationState;
  manager: string;
  created: number;
  ended: number;
  error: string;
  steps: StepState[];
  log: string[];
  confirm_before: number;
}

export interface SkepEvent {
  number: number;
  time: number;
  kind: string;
  ref: string;
  data: Record<string, unknown>;
}

export interface PlanStep {
  verb: string;
  ref: string;
  summary: string;
  stage: number;
}

export interface PlanNote {
  ref: string | null;
  text: string;
  refuses: boolean;
}

export interface Plan {
  steps: PlanStep[];
  notes: PlanNote[];
  confirm: boolean;
}

export interface Snapshot {
  name: string;
  created: number;
  frozen: boolean;
  disks: string[];
}

export interface Disk {
  name: string;
  size: number | null;
  image: string | null;
  edition: string;
  format: string | null;
  model: string | null;
  discard: boolean;
  slot: number | null;
}

export interface Nic {
  port: string;
  model: string | null;
  slot: number | null;
}

export interface Media {
  image: string;
  until_reboot: boolean;
  slot: number | null;
}

export interface DiskStatus {
  format?: string;
  size?: number;
  allocated?: number;
  edition?: string;
  image?: string | null;
}

export type GuestState = "running" | "paused" | "stopping" | "stopped" | "crashed" | string;

export interface GuestStatus {
  state: GuestState;
  started?: number;
  ended?: number;
  ending?: string;
  message?: string;
  reboots?: number;
  accelerator?: string;
  addresses: string[];
  networks: string[];
  restart_pending: boolean;
  disks: Record<string, DiskStatus>;
  snapshots: Snapshot[];
  folder: boolean;
}

export interface CloudInit {
  hostname: string | null;
  user: string | null;
  ssh_keys: string[];
  commands: string[];
  user_data: string | null;
  network_config: string | null;
}

export interface Guest {
  name: string;
  manager: string;
  description: string;
  profile: string;
  cpus: { sockets: number; cores: number; threads: number };
  memory: number;
  disks: Disk[];
  nics: Nic[];
  media: Media[];
  cloud_init: CloudInit | null;
  power: "on" | "off";
  autostart: boolean;
  screen: boolean;
  agent: boolean;
  tpm: boolean;
  secure_boot: boolean;
  etag: string;
  status: GuestStatus;
}

export interface Network {
  name: string;
  manager: string;
  kind: string;
  subnets: { prefix: string; own: string | null; gateway: string | null; dhcp: boolean; first: string | null; last: string | null }[];
  domain: string;
  mtu: number;
  uplink: string | null;
  vlan: number | null;
  vni: number | null;
  host_address: string | null;
  etag: string;
  status: { state: string; ports: string[]; missing?: string };
}

export interface Port {
  name: string;
  manager: string;
  network: string;
  guest: string | null;
  mac: string | null;
  addresses: string[];
  filters: string[];
  pairs: [string | null, string][];
  guard: boolean;
  vlans: number[];
  etag: string;
  status: { state: string; mac: string; interface?: string; up?: boolean };
}

export interface Image {
  name: string;
  manager: string;
  version: string;
  sources: string[];
  etag: string;
  status: { state: string; format?: string; size?: number; digest?: string; users?: number };
}

/** The data of a "metrics" event: CPU in cores, memory in bytes, the others in bytes per second. */
export interface GuestUsage {
  cpu: number | null;
  memory: number | null;
  disk_read: number | null;
  disk_write: number | null;
  net_in: number | null;
  net_out: number | null;
}

export interface Series {
  start: number;
  step: number;
  series: Record<string, (number | null)[]>;
}

export interface SnapshotChanges {
  since: number;
  disks: Record<string, { written: number | null; grown: number }>;
  newer: string[];
  definition: string[];
}

export type Severity = "error" | "warning";

/** The host at a glance: GET /v1/health. */
export interface Health {
  state: "ok" | "warning" | "error";
  problems: { severity: Severity; ref: string; text: string; advice: string }[];
  host: {
    name: string;
    platform?: string;
    version?: string;
    machine?: string;
    kernel?: string;
    cpus?: number;
    booted?: number | null;
    skepd_started?: number;
    reboot?: string;
  };
  memory: { total: number; guests: number; arc: number | null; free: number | null };
  pools: { name: string; size: number; allocated: number; health: string; problem?: string; scan?: string }[];
  disks: {
    name: string;
    size: number;
    model?: string;
    health: string;
    worn?: number | null;
    bad?: number | null;
    temperature?: number | null;
    reason?: string;
  }[];
  uplinks: { name: string; up: boolean | null; speed?: string; description?: string }[];
  time: { now: number; synchronised: boolean | null; source?: string; offset?: number | null };
  guests: { running: number; stopped: number; trouble: { name: string; state: string; text?: string }[] };
  snapshots: { guest: string; newest: number | null }[];
  operations: { id: string; title: string; state: string }[];
}

export interface Rule {
  direction: "in" | "out";
  family: string;
  protocol: string;
  ports: string;
  icmp_type: number;
  icmp_code: number;
  remote: string | null;
  group: string | null;
  stateless: boolean;
}

export interface Filter {
  name: string;
  manager: string;
  description: string;
  rules: Rule[];
  etag: string;
  status: { state: string; ports: string[] };
}

export interface Router {
  name: string;
  manager: string;
  legs: { network: string; addresses: string[]; snat: boolean }[];
  routes: [string, string][];
  floating: [string, string][];
  forwards: { protocol: string; outside: string; outside_port: number; inside: string; inside_port: number }[];
  etag: string;
  status: { state: string; macs: Record<string, string>; missing?: string };
}
