# cmake --install build/release --prefix DIR; then find_package(nibble) offers nibble::tensor ... nibble::quant.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nibble)
install(TARGETS nibble_tensor nibble_autograd nibble_data nibble_nn nibble_quant EXPORT nibbleTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT nibbleTargets NAMESPACE nibble:: DESTINATION ${config_dir})
foreach(folder tensor autograd data nn quant)
  install(DIRECTORY ${nibble_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/nibble
          FILES_MATCHING PATTERN "*.h" PATTERN "kernels" EXCLUDE PATTERN "onnx" EXCLUDE PATTERN "vec.h" EXCLUDE)
endforeach()
if(TARGET nibble)
  install(TARGETS nibble RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/nibbleConfig.cmake.in
                              ${nibble_BINARY_DIR}/nibbleConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${nibble_BINARY_DIR}/nibbleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${nibble_BINARY_DIR}/nibbleConfig.cmake ${nibble_BINARY_DIR}/nibbleConfigVersion.cmake
        DESTINATION ${config_dir})
