// Made by web/build.py from the Python packages. Do not edit.
export default {
 "actions": {
  "distinct": [
   0,
   4,
   8,
   1,
   5,
   9,
   2,
   6,
   10
  ],
  "full": [
   0,
   1,
   2,
   4,
   8,
   3,
   5,
   9,
   6,
   10,
   12,
   7,
   11,
   13,
   14,
   15
  ],
  "reduced": [
   0,
   1,
   2,
   4,
   8,
   3,
   9,
   6,
   12
  ]
 },
 "clearanceScale": 2.0,
 "clouds": [
  [
   0.23604808973743452,
   0.0668231688999861,
   0.04188174727832043
  ],
  [
   0.15497227080241027,
   0.05729392487669338,
   0.04204773043455225
  ],
  [
   0.9179550430877189,
   0.24811761138891023,
   0.05295487807516315
  ],
  [
   0.22192817569031764,
   0.17953680212545153,
   0.038300479303243505
  ],
  [
   0.1726645292853689,
   0.06760765603219784,
   0.03643201297736749
  ]
 ],
 "encoder": "AAACRAAAAAAAAAAAAACgQQAAjEEAAAJEAAAAAAAAAAAAAKBBAACMQQAAAkQAAAAAAAAAAAAAoEEAAIxBAAACRAAAAAAAAAAAAACgQQAAjEEAAAJEAAAAAAAAAAAAAKBBAACMQQAAAkQAAAAAAAAAAAAAoEEAAIxBAAACRAAAAAAAAAAAAACgQQAAjEEAAAJEAAAAAAAAAAAAAKBBAACMQQAAAkQAAAAAAAAAAAAAoEEAAIxBAAACRAAAAAAAAAAAAACgQQAAjEEAAAJEAAAAAAAAAAAAAKBBAACMQQAAAkQAAAAAAAAAAAAAoEEAAIxBAIAERAAAIEEAAMBAAAAgQgAAKkIAgAREAAAgQQAAwEAAACBCAAAqQgCABEQAACBBAADAQAAAIEIAACpCAIAERAAAIEEAAMBAAAAgQgAAKkIAgAREAAAgQQAAwEAAACBCAAAqQgCABEQAACBBAADAQAAAIEIAACpCAIAERAAAIEEAAMBAAAAgQgAAKkIAgAREAAAgQQAAwEAAACBCAAAqQgCABEQAACBBAADAQAAAIEIAACpCAIAERAAAIEEAAMBAAAAgQgAAKkIAgAREAAAgQQAAwEAAACBCAAAqQgCABEQAACBBAADAQAAAIEIAACpCAAAgwQAAIMEAAMDAAACgwQAAyMEAQINEAAAgQQAAwEAAAHBCAABwQjKNp79eD0m/XwoGwCjROT/8CS7AXwoGQDL+pT9BZsq+j4QSQDa63L8gEMm/zcysP83MrD/NzCw/mpk5PwAAIEAAACBAmpkhwJqZKUAAAEA/AABAPwAAgD8AAIA/AAD6QwAA+kMAAHpEAAB6RAAAyEIAAKBBAADIQgAAoEHqXQrAv4NfvrRIEkEAACBBzczMPc3MzD0AAABAAQAAAAcAAAACAAAABgAAAAsAAAAFAAAACgAAAAMAAAAIAAAABAAAAAkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIAAAAHAAAABgAAAAsAAAADAAAACAAAAAQAAAAJAAAAAwAAAAgAAAAGAAAACwAAAA==",
 "fallen": 1,
 "figure": [
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    1.4000000000000001,
    0.0
   ],
   "end_part": "leftForearm",
   "end_radius": 0.49,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.2620587423023988,
    0.15722668659641342
   ],
   "start_part": "leftForearm",
   "start_radius": 0.63
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    1.4000000000000001,
    0.0
   ],
   "end_part": "leftForearm",
   "end_radius": 0.63,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.4000000000000001,
    0.0
   ],
   "start_part": "leftForearm",
   "start_radius": 0.63
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    1.6027887369842992,
    -0.14793204384539627
   ],
   "end_part": "leftArm",
   "end_radius": 0.63,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.06207890966549,
    0.17409394631566927
   ],
   "start_part": "leftArm",
   "start_radius": 0.75
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    0.40359829599189423,
    -0.0030203482729167785
   ],
   "end_part": "leftArm",
   "end_radius": 0.81,
   "kind": "limb",
   "round_end": false,
   "start": [
    -1.06207890966549,
    0.17409394631566927
   ],
   "start_part": "leftArm",
   "start_radius": 0.85
  },
  {
   "color": [
    190,
    132,
    100
   ],
   "end": [
    1.4000000000000001,
    0.0
   ],
   "end_part": "leftForearm",
   "end_radius": 0.36,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.2620587423023988,
    0.15722668659641342
   ],
   "start_part": "leftForearm",
   "start_radius": 0.5
  },
  {
   "color": [
    190,
    132,
    100
   ],
   "end": [
    1.4000000000000001,
    0.0
   ],
   "end_part": "leftForearm",
   "end_radius": 0.5,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.4000000000000001,
    0.0
   ],
   "start_part": "leftForearm",
   "start_radius": 0.5
  },
  {
   "color": [
    190,
    132,
    100
   ],
   "end": [
    1.6027887369842992,
    -0.14793204384539627
   ],
   "end_part": "leftArm",
   "end_radius": 0.5,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.06207890966549,
    0.17409394631566927
   ],
   "start_part": "leftArm",
   "start_radius": 0.62
  },
  {
   "color": 0.72,
   "end": [
    0.40359829599189423,
    -0.0030203482729167785
   ],
   "end_part": "leftArm",
   "end_radius": 0.68,
   "kind": "limb",
   "round_end": false,
   "start": [
    -1.06207890966549,
    0.17409394631566927
   ],
   "start_part": "leftArm",
   "start_radius": 0.72
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -2.425382538900126,
    0.13895539751438638
   ],
   "end_part": "leftCalf",
   "end_radius": 0.5900000000000001,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.9196757394877109,
    0.19295729403868833
   ],
   "start_part": "leftCalf",
   "start_radius": 0.65
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.9196757394877109,
    0.19295729403868833
   ],
   "end_part": "leftCalf",
   "end_radius": 0.66,
   "kind": "limb",
   "round_end": true,
   "start": [
    2.0031668711363886,
    0.29778450493880393
   ],
   "start_part": "leftCalf",
   "start_radius": 0.87
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -2.039930985466258,
    -0.06884320616201656
   ],
   "end_part": "leftThigh",
   "end_radius": 0.89,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.5149934600879298,
    0.10302974517488483
   ],
   "start_part": "leftThigh",
   "start_radius": 1.15
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.6890596961556665,
    -0.003531484653994027
   ],
   "end_part": "leftThigh",
   "end_radius": 1.13,
   "kind": "limb",
   "round_end": false,
   "start": [
    1.5149934600879298,
    0.10302974517488483
   ],
   "start_part": "leftThigh",
   "start_radius": 1.21
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     -1.35,
     0.42500000000000004
    ],
    [
     -1.33,
     -0.5062500000000001
    ],
    [
     -0.12709345824791085,
     -0.675
    ],
    [
     0.22290654175208913,
     -0.23625
    ],
    [
     1.0125000000000002,
     -0.02
    ],
    [
     1.35,
     0.37500000000000006
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "leftFoot"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     -1.35,
     0.37500000000000006
    ],
    [
     1.35,
     0.37500000000000006
    ],
    [
     1.35,
     0.675
    ],
    [
     -1.25,
     0.675
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "leftFoot"
  },
  {
   "color": [
    206,
    210,
    222
   ],
   "end": [
    -2.425382538900126,
    0.13895539751438638
   ],
   "end_part": "leftCalf",
   "end_radius": 0.46,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.9196757394877109,
    0.19295729403868833
   ],
   "start_part": "leftCalf",
   "start_radius": 0.52
  },
  {
   "color": [
    190,
    132,
    100
   ],
   "end": [
    -0.9196757394877109,
    0.19295729403868833
   ],
   "end_part": "leftCalf",
   "end_radius": 0.53,
   "kind": "limb",
   "round_end": true,
   "start": [
    2.0031668711363886,
    0.29778450493880393
   ],
   "start_part": "leftCalf",
   "start_radius": 0.74
  },
  {
   "color": [
    190,
    132,
    100
   ],
   "end": [
    -2.039930985466258,
    -0.06884320616201656
   ],
   "end_part": "leftThigh",
   "end_radius": 0.76,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.5149934600879298,
    0.10302974517488483
   ],
   "start_part": "leftThigh",
   "start_radius": 1.02
  },
  {
   "color": [
    32,
    44,
    82
   ],
   "end": [
    -0.6890596961556665,
    -0.003531484653994027
   ],
   "end_part": "leftThigh",
   "end_radius": 1.0,
   "kind": "limb",
   "round_end": false,
   "start": [
    1.5149934600879298,
    0.10302974517488483
   ],
   "start_part": "leftThigh",
   "start_radius": 1.08
  },
  {
   "color": [
    58,
    150,
    214
   ],
   "corners": [
    [
     -1.35,
     0.42500000000000004
    ],
    [
     -1.33,
     -0.5062500000000001
    ],
    [
     -0.12709345824791085,
     -0.675
    ],
    [
     0.22290654175208913,
     -0.23625
    ],
    [
     1.0125000000000002,
     -0.02
    ],
    [
     1.35,
     0.37500000000000006
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "leftFoot"
  },
  {
   "color": [
    250,
    250,
    246
   ],
   "corners": [
    [
     -1.35,
     0.37500000000000006
    ],
    [
     1.35,
     0.37500000000000006
    ],
    [
     1.35,
     0.675
    ],
    [
     -1.25,
     0.675
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "leftFoot"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.22839485113389013,
    0.5126087775923435
   ],
   "end_part": "head",
   "end_radius": 0.68,
   "kind": "limb",
   "round_end": true,
   "start": [
    2.859519853416241,
    0.1894010834667077
   ],
   "start_part": "torso",
   "start_radius": 0.73
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.9518157516814325,
    -0.21715463157504844
   ],
   "end_part": "torso",
   "end_radius": 1.29,
   "kind": "limb",
   "round_end": true,
   "start": [
    -2.1619821720974457,
    -0.218276007975702
   ],
   "start_part": "torso",
   "start_radius": 1.33
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    1.871905895955932,
    -0.21453808664019014
   ],
   "end_part": "torso",
   "end_radius": 1.4900000000000002,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.9518157516814325,
    -0.21715463157504844
   ],
   "start_part": "torso",
   "start_radius": 1.25
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    -0.22839485113389013,
    0.5126087775923435
   ],
   "end_part": "head",
   "end_radius": 0.55,
   "kind": "limb",
   "round_end": true,
   "start": [
    2.859519853416241,
    0.1894010834667077
   ],
   "start_part": "torso",
   "start_radius": 0.6
  },
  {
   "color": [
    44,
    62,
    110
   ],
   "end": [
    -0.9518157516814325,
    -0.21715463157504844
   ],
   "end_part": "torso",
   "end_radius": 1.16,
   "kind": "limb",
   "round_end": true,
   "start": [
    -2.1619821720974457,
    -0.218276007975702
   ],
   "start_part": "torso",
   "start_radius": 1.2
  },
  {
   "color": 1.0,
   "end": [
    1.871905895955932,
    -0.21453808664019014
   ],
   "end_part": "torso",
   "end_radius": 1.36,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.9518157516814325,
    -0.21715463157504844
   ],
   "start_part": "torso",
   "start_radius": 1.12
  },
  {
   "color": 1.25,
   "end": [
    1.871905895955932,
    -0.21453808664019014
   ],
   "end_part": "torso",
   "end_radius": 0.22,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.669443586917696,
    -0.2168929770815626
   ],
   "start_part": "torso",
   "start_radius": 0.22
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -2.2591139640195603,
    0.08142886510219238
   ],
   "end_part": "rightCalf",
   "end_radius": 0.5900000000000001,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.8292315237265837,
    0.1320318548043981
   ],
   "start_part": "rightCalf",
   "start_radius": 0.65
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.8292315237265837,
    0.1320318548043981
   ],
   "end_part": "rightCalf",
   "end_radius": 0.66,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.9464226250774301,
    0.23026118775573867
   ],
   "start_part": "rightCalf",
   "start_radius": 0.87
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    2.0958596632699917,
    0.29461641905670727
   ],
   "end_part": "rightThigh",
   "end_radius": 0.89,
   "kind": "limb",
   "round_end": true,
   "start": [
    -2.0961942262183917,
    0.18536556036297194
   ],
   "start_part": "rightThigh",
   "start_radius": 1.15
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    0.5028791852644057,
    0.25310109275308784
   ],
   "end_part": "rightThigh",
   "end_radius": 1.13,
   "kind": "limb",
   "round_end": false,
   "start": [
    -2.0961942262183917,
    0.18536556036297194
   ],
   "start_part": "rightThigh",
   "start_radius": 1.21
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     -1.35,
     0.475
    ],
    [
     -1.33,
     -0.54375
    ],
    [
     -0.2779783144804977,
     -0.725
    ],
    [
     0.07202168551950228,
     -0.25375
    ],
    [
     1.0125000000000002,
     -0.02
    ],
    [
     1.35,
     0.425
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "rightFoot"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     -1.35,
     0.425
    ],
    [
     1.35,
     0.425
    ],
    [
     1.35,
     0.725
    ],
    [
     -1.25,
     0.725
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "rightFoot"
  },
  {
   "color": [
    250,
    250,
    250
   ],
   "end": [
    -2.2591139640195603,
    0.08142886510219238
   ],
   "end_part": "rightCalf",
   "end_radius": 0.46,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.8292315237265837,
    0.1320318548043981
   ],
   "start_part": "rightCalf",
   "start_radius": 0.52
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    -0.8292315237265837,
    0.1320318548043981
   ],
   "end_part": "rightCalf",
   "end_radius": 0.53,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.9464226250774301,
    0.23026118775573867
   ],
   "start_part": "rightCalf",
   "start_radius": 0.74
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    2.0958596632699917,
    0.29461641905670727
   ],
   "end_part": "rightThigh",
   "end_radius": 0.76,
   "kind": "limb",
   "round_end": true,
   "start": [
    -2.0961942262183917,
    0.18536556036297194
   ],
   "start_part": "rightThigh",
   "start_radius": 1.02
  },
  {
   "color": [
    44,
    62,
    110
   ],
   "end": [
    0.5028791852644057,
    0.25310109275308784
   ],
   "end_part": "rightThigh",
   "end_radius": 1.0,
   "kind": "limb",
   "round_end": false,
   "start": [
    -2.0961942262183917,
    0.18536556036297194
   ],
   "start_part": "rightThigh",
   "start_radius": 1.08
  },
  {
   "color": [
    240,
    92,
    52
   ],
   "corners": [
    [
     -1.35,
     0.475
    ],
    [
     -1.33,
     -0.54375
    ],
    [
     -0.2779783144804977,
     -0.725
    ],
    [
     0.07202168551950228,
     -0.25375
    ],
    [
     1.0125000000000002,
     -0.02
    ],
    [
     1.35,
     0.425
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "rightFoot"
  },
  {
   "color": [
    250,
    250,
    246
   ],
   "corners": [
    [
     -1.35,
     0.425
    ],
    [
     1.35,
     0.425
    ],
    [
     1.35,
     0.725
    ],
    [
     -1.25,
     0.725
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "rightFoot"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    0.12,
    0.605
   ],
   "end_part": "head",
   "end_radius": 0.87,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.05,
    -0.2749999999999999
   ],
   "start_part": "head",
   "start_radius": 1.19
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     0.825,
     -0.15
    ],
    [
     1.275,
     0.3
    ],
    [
     0.7749999999999999,
     0.42
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "head"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "corners": [
    [
     0.825,
     -0.905
    ],
    [
     0.45,
     -1.4449999999999998
    ],
    [
     -0.35,
     -1.4449999999999998
    ],
    [
     -1.095,
     -0.725
    ],
    [
     -1.155,
     0.2
    ],
    [
     -0.55,
     0.35
    ],
    [
     -0.5,
     -0.35
    ],
    [
     0.1,
     -0.62
    ]
   ],
   "grow": 0.13,
   "kind": "patch",
   "part": "head"
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    0.12,
    0.605
   ],
   "end_part": "head",
   "end_radius": 0.74,
   "kind": "limb",
   "round_end": true,
   "start": [
    -0.05,
    -0.2749999999999999
   ],
   "start_part": "head",
   "start_radius": 1.06
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "corners": [
    [
     0.825,
     -0.15
    ],
    [
     1.275,
     0.3
    ],
    [
     0.7749999999999999,
     0.42
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "head"
  },
  {
   "color": [
    70,
    42,
    34
   ],
   "corners": [
    [
     0.825,
     -0.905
    ],
    [
     0.45,
     -1.4449999999999998
    ],
    [
     -0.35,
     -1.4449999999999998
    ],
    [
     -1.095,
     -0.725
    ],
    [
     -1.155,
     0.2
    ],
    [
     -0.55,
     0.35
    ],
    [
     -0.5,
     -0.35
    ],
    [
     0.1,
     -0.62
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "head"
  },
  {
   "color": [
    250,
    250,
    246
   ],
   "corners": [
    [
     1.035,
     -0.75
    ],
    [
     1.075,
     -0.45
    ],
    [
     -1.055,
     -0.2
    ],
    [
     -1.075,
     -0.52
    ]
   ],
   "grow": 0.0,
   "kind": "patch",
   "part": "head"
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    0.62,
    0.12
   ],
   "end_part": "head",
   "end_radius": 0.13,
   "kind": "limb",
   "round_end": true,
   "start": [
    0.62,
    0.02
   ],
   "start_part": "head",
   "start_radius": 0.13
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    0.8,
    0.74
   ],
   "end_part": "head",
   "end_radius": 0.06,
   "kind": "limb",
   "round_end": true,
   "start": [
    0.5,
    0.78
   ],
   "start_part": "head",
   "start_radius": 0.06
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -1.7800000000000002,
    0.0
   ],
   "end_part": "rightForearm",
   "end_radius": 0.49,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.786878910753607,
    -0.0875161173956252
   ],
   "start_part": "rightForearm",
   "start_radius": 0.63
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -1.7800000000000002,
    0.0
   ],
   "end_part": "rightForearm",
   "end_radius": 0.63,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.7800000000000002,
    0.0
   ],
   "start_part": "rightForearm",
   "start_radius": 0.63
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -1.3780071636887363,
    0.014064825719664498
   ],
   "end_part": "rightArm",
   "end_radius": 0.63,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.2001841231501342,
    0.014095940491621661
   ],
   "start_part": "rightArm",
   "start_radius": 0.75
  },
  {
   "color": [
    38,
    30,
    44
   ],
   "end": [
    -0.2178210846112445,
    0.014078827367045221
   ],
   "end_part": "rightArm",
   "end_radius": 0.81,
   "kind": "limb",
   "round_end": false,
   "start": [
    1.2001841231501342,
    0.014095940491621661
   ],
   "start_part": "rightArm",
   "start_radius": 0.85
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    -1.7800000000000002,
    0.0
   ],
   "end_part": "rightForearm",
   "end_radius": 0.36,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.786878910753607,
    -0.0875161173956252
   ],
   "start_part": "rightForearm",
   "start_radius": 0.5
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    -1.7800000000000002,
    0.0
   ],
   "end_part": "rightForearm",
   "end_radius": 0.5,
   "kind": "limb",
   "round_end": true,
   "start": [
    -1.7800000000000002,
    0.0
   ],
   "start_part": "rightForearm",
   "start_radius": 0.5
  },
  {
   "color": [
    236,
    178,
    134
   ],
   "end": [
    -1.3780071636887363,
    0.014064825719664498
   ],
   "end_part": "rightArm",
   "end_radius": 0.5,
   "kind": "limb",
   "round_end": true,
   "start": [
    1.2001841231501342,
    0.014095940491621661
   ],
   "start_part": "rightArm",
   "start_radius": 0.62
  },
  {
   "color": 1.0,
   "end": [
    -0.2178210846112445,
    0.014078827367045221
   ],
   "end_part": "rightArm",
   "end_radius": 0.68,
   "kind": "limb",
   "round_end": false,
   "start": [
    1.2001841231501342,
    0.014095940491621661
   ],
   "start_part": "rightArm",
   "start_radius": 0.72
  }
 ],
 "finish": 100.0,
 "footLifts": 0.03,
 "footTouches": 0.01,
 "gameEnded": 8,
 "hurdle": [
  [
   1.675,
   0.3
  ],
  [
   0.5375,
   3.65
  ]
 ],
 "hurdlePoses": [
  [
   500.0,
   8.775,
   0.0
  ],
  [
   500.86499999999995,
   5.0575,
   0.0
  ]
 ],
 "jumpLanded": 4,
 "keyNames": "QWOP",
 "kneeNear": 0.12,
 "lookahead": {
  "candidates": 32,
  "finishWorth": 1000.0,
  "horizon": 40,
  "secondWorth": 20.0,
  "segment": 8,
  "value_weight": 1.0
 },
 "parts": [
  "torso",
  "head",
  "leftArm",
  "leftCalf",
  "leftFoot",
  "leftForearm",
  "leftThigh",
  "rightArm",
  "rightCalf",
  "rightFoot",
  "rightForearm",
  "rightThigh"
 ],
 "sandX": 1000.0,
 "scenery": {
  "BOARDS": [
   [
    "STRIDE",
    [
     40,
     72,
     140
    ]
   ],
   [
    "Q  W",
    [
     246,
     246,
     240
    ]
   ],
   [
    "100 METERS",
    [
     196,
     60,
     60
    ]
   ],
   [
    "O  P",
    [
     246,
     246,
     240
    ]
   ],
   [
    "UPRIGHT",
    [
     36,
     110,
     104
    ]
   ],
   [
    "HURDLE 50 M",
    [
     246,
     196,
     76
    ]
   ],
   [
    "NO KNEES",
    [
     246,
     246,
     240
    ]
   ]
  ],
  "BOARDS_BOTTOM": -1.7,
  "BOARDS_RATE": 0.55,
  "BOARDS_SIZE": [
   56.0,
   3.4
  ],
  "BOARD_HEIGHT": 1.85,
  "BOARD_INK": [
   40,
   72,
   140
  ],
  "BOARD_PALE": 420,
  "BOARD_TOP": 1.55,
  "BUSH": [
   66,
   128,
   74
  ],
  "CAMERA_AHEAD": 3.0,
  "CLOUD_OPACITY": 190,
  "CLOUD_PUFFS": [
   [
    2,
    2.6,
    1.1
   ],
   [
    3.6,
    2.1,
    1.6
   ],
   [
    5.4,
    2.4,
    1.4
   ],
   [
    6.9,
    2.8,
    1.0
   ]
  ],
  "CROWD": [
   [
    206,
    92,
    88
   ],
   [
    88,
    128,
    190
   ],
   [
    228,
    196,
    112
   ],
   [
    118,
    170,
    124
   ],
   [
    222,
    222,
    226
   ],
   [
    150,
    116,
    172
   ]
  ],
  "FLOODLIGHT": [
   116,
   124,
   142
  ],
  "GRASS": [
   118,
   176,
   84
  ],
  "GRASS_HEIGHT": 0.8,
  "GRASS_TOP": -1.9,
  "GROUND": 18.4,
  "HEDGE": [
   58,
   116,
   66
  ],
  "HEDGE_BUSHES": 60,
  "HEDGE_RADII": [
   0.55,
   0.8
  ],
  "HEDGE_TOP": 1.1,
  "HURDLE_BOARD": [
   246,
   246,
   242
  ],
  "HURDLE_FEET": [
   70,
   76,
   92
  ],
  "HURDLE_STRIPE": [
   220,
   54,
   60
  ],
  "HURDLE_STRIPES": [
   [
    -3.65,
    -2.4
   ],
   [
    -1.0,
    0.25
   ],
   [
    1.65,
    2.9
   ]
  ],
  "INK": [
   24,
   28,
   40
  ],
  "KEY_DOWN": [
   255,
   190,
   60
  ],
  "KEY_RIM": [
   108,
   118,
   140
  ],
  "KEY_RIM_DOWN": [
   255,
   232,
   170
  ],
  "KEY_UP": [
   52,
   60,
   78
  ],
  "LABEL": [
   250,
   250,
   246
  ],
  "LAMP": [
   255,
   250,
   224
  ],
  "LANE": [
   190,
   78,
   56
  ],
  "LANE_EDGES": [
   -1.15,
   -0.62,
   0.55,
   2.1,
   4.700000000000001
  ],
  "LANE_LINE": [
   244,
   226,
   214
  ],
  "LINE": [
   38,
   30,
   44
  ],
  "MAST": [
   150,
   158,
   174
  ],
  "METER_LINE": [
   250,
   240,
   232
  ],
  "OUTLINE": [
   38,
   30,
   44
  ],
  "PAPER": [
   250,
   250,
   246
  ],
  "PERSPECTIVE": 0.075,
  "SAND": [
   226,
   196,
   132
  ],
  "SAND_DARK": [
   206,
   172,
   106
  ],
  "SAND_PALE": [
   242,
   220,
   164
  ],
  "SHADOW": [
   60,
   16,
   16,
   80
  ],
  "SHIRTS": [
   [
    226,
    60,
    66
   ],
   [
    60,
    140,
    220
   ],
   [
    252,
    186,
    50
   ],
   [
    86,
    176,
    98
   ],
   [
    160,
    96,
    200
   ]
  ],
  "SHOES": [
   [
    58,
    150,
    214
   ],
   [
    240,
    92,
    52
   ]
  ],
  "SHOE_LEFT": [
   58,
   150,
   214
  ],
  "SHOE_RIGHT": [
   240,
   92,
   52
  ],
  "SKY_BOTTOM": [
   226,
   240,
   246
  ],
  "SKY_EXPONENT": 0.8,
  "SKY_TOP": [
   96,
   168,
   226
  ],
  "STAND_BACK": [
   112,
   124,
   152
  ],
  "STAND_BAND": [
   200,
   74,
   74
  ],
  "STAND_BOTTOM": -3.6,
  "STAND_EDGE": [
   236,
   240,
   246
  ],
  "STAND_FACE": [
   214,
   160,
   124
  ],
  "STAND_FIRST_ROW": 4.3,
  "STAND_FRONT": [
   142,
   156,
   182
  ],
  "STAND_HEAD": 0.23,
  "STAND_PILLAR": [
   226,
   230,
   238
  ],
  "STAND_RATE": 0.12,
  "STAND_ROOF": 3.0,
  "STAND_ROW": 0.75,
  "STAND_SEATS": 64,
  "STAND_SHADE": [
   84,
   96,
   124
  ],
  "STAND_SIZE": [
   48.0,
   11.5
  ],
  "STAND_TAKEN": 0.82,
  "STAND_WALL": [
   126,
   140,
   168
  ],
  "TICK": [
   236,
   196,
   178
  ],
  "TRACK": [
   200,
   86,
   62
  ],
  "TRACK_FAR": -1.15,
  "VIEW_HEIGHT": 23.0
 },
 "splits": [
  10,
  50,
  100
 ],
 "tooFarAhead": 105.0,
 "tooFarBack": -10.0,
 "trackY": 9.14275,
 "trigVariants": [
  "rounded",
  "glibc",
  "glibc-fma",
  "fdlibm",
  "msun",
  "llvm"
 ],
 "unitsPerMeter": 10.0,
 "uprightPelvis": 0.65,
 "uprightTilt": 0.7853981633974483
};
