// What travels about the machine below: GET /v1/host, /v1/host/inventory, /v1/doctor.

export interface HostView {
  facts: {
    platform: string;
    hostname: string;
    cpus: number;
    memory: number;
    disk_format: string;
    uplinks: string[];
    management: string[];
    pci_devices: string[];
  };
  status: { version: string; skepd_started: number };
}

export interface Drive {
  name: string;
  size: number;
  model: string;
  serial: string;
  rotation: number;
  smart: { health: string; reason: string; worn: number; bad: number; hours: number; temperature: number } | null;
}

export interface NicView {
  name: string;
  mac: string;
  driver: string;
  description: string;
  speed: string;
  up: boolean;
}

export interface PoolView {
  name: string;
  size: number;
  allocated: number;
  fragmentation: number;
  health: string;
  problem: string;
  scan: string;
}

export interface Inventory {
  machine: string;
  memory: number;
  kernel: string;
  reboot: string;
  smart: string;
  cpu: { model?: string; cores?: number; threads?: number };
  nics: NicView[];
  drives: Drive[];
  pools: PoolView[];
  environments: { name: string; running: boolean; next: boolean }[];
}

export interface Check {
  name: string;
  works: boolean;
  reason: string;
  advice: string;
}
